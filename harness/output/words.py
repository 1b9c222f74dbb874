"""Times and progress in words, for people. Pure."""

import json
from collections.abc import Mapping
from typing import Any

#: Characters of progress that are shown in a line.
_WIDEST = 60
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def length(seconds: float) -> str:
    """A length of time in its largest unit: ``3 s``, ``5 min``, ``2 d``."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return "0 s"


def when(at_s: float | None, now_s: float) -> str:
    """A moment as seen from now: ``5 min ago``, ``in 3 s``; empty for none."""
    if at_s is None:
        return ""
    return f"in {length(at_s - now_s)}" if at_s > now_s else f"{length(now_s - at_s)} ago"


def progress(value: Any) -> str:
    """Progress in one line: a part of 1 as a percentage, ``{"done": 3, "of": 10}`` too; else as it is."""
    if isinstance(value, Mapping):
        done, of = _number(value.get("done")), _number(value.get("of"))
        if done is not None and of is not None and 0 <= done <= of and of > 0:
            return f"{done:g} of {of:g} ({100 * done / of:.0f} %)"
    if isinstance(value, float) and 0 <= value <= 1:
        return f"{100 * value:.0f} %"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
