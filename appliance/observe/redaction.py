"""One place that knows the secrets, so that every sink can be kept free of them.

Some vault entries are no secrets: ``MODE=inference`` beside a queue of that name. Masked everywhere, such a
value would make our own log unreadable. So what is a common word or number stays in the fields that only
ever hold the worker's words and public names; in all other text (output, errors, tracebacks) it is masked
like any secret.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from appliance.masking.forms import forms
from appliance.masking.matcher import Matcher, masked
from appliance.masking.parts import is_secret, parts
from appliance.masking.text import mask_urls, without_escapes, without_invisible

#: Parts of one secret that are looked for in every form; further ones only as they stand.
MOST_PARTS = 256
#: Texts whose outcome is remembered, and their length: a line passes several sinks, and fields repeat.
_REMEMBERED = 256
_REMEMBERED_CHARS = 4096
#: Words joined by dots, dashes and underscores, and short numbers. Longer ones may well be pass phrases.
_COMMON = re.compile(r"[A-Za-z]+([._-][A-Za-z]+)*|[0-9]+")
_LONGEST_COMMON = 15
_LONGEST_NUMBER = 6

#: Fields of log events that hold nothing but our own words, names of queues and vaults, and ids.
OWN_FIELDS = frozenset(
    [
        "event",
        "level",
        "timestamp",
        "loop",
        "outcome",
        "fence_reply",
        "src",
        "mode",
        "signal",
        "version",
        "python",
        "state",
        "parent",
        "queue",
        "queues",
        "sub_queues",
        "vault",
        "vaults",
        "worker_id",
        "owner",
        "task_id",
        "task_ids",
    ]
)


class Redactor:
    """Masks known secrets, in the forms they usually take, and what in a URL is one."""

    def __init__(self) -> None:
        self._forms: dict[str, frozenset[str]] = {}
        self._public = ""
        self._sort_out()

    def publish(self, *names: str) -> None:
        """These are no secrets: whatever is part of one counts as a common word."""
        self._public = "\n".join((self._public, *names))
        self._sort_out()

    def add(self, *secrets: str | None) -> None:
        """Mask these from now on, and what of them may stand alone; very short ones are ignored."""
        new = {
            part: forms(part) if number < MOST_PARTS else frozenset({part})
            for secret in secrets
            if secret
            for number, part in enumerate(parts(secret))
            if part not in self._forms
        }
        if new:
            self._forms |= new
            self._sort_out()

    def remarks(self, vaults: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """Names of entries that are not masked, or that mask more than themselves, each with what to know."""
        for name, value in sorted(vaults.items()):
            if value and not is_secret(value):
                yield name, "its value is not masked in logs: too short, or a word like true"
            elif value and self._is_common(value):
                yield (
                    name,
                    "its value is a common word or number: masked wherever output and errors have it",
                )

    def text(self, text: str) -> str:
        """``text`` with every secret masked, and without what only a terminal obeys."""
        return self._everything(text)

    def field(self, name: str, value: Any) -> Any:
        """The same for a field of a log event: text, and text inside lists, tuples and dicts."""
        return _masked_in(value, self._uncommon if name in OWN_FIELDS else self._everything)

    def _sort_out(self) -> None:
        uncommon, common = Matcher(), Matcher()
        for part, written in self._forms.items():
            (common if self._is_common(part) else uncommon).add(written)
        self._everything = _remembering(uncommon, common)
        self._uncommon = _remembering(uncommon)

    def _is_common(self, secret: str) -> bool:
        longest = _LONGEST_NUMBER if secret.isdecimal() else _LONGEST_COMMON
        return secret in self._public or (len(secret) <= longest and bool(_COMMON.fullmatch(secret)))


def _remembering(*matchers: Matcher) -> Callable[[str], str]:
    def clean(text: str) -> str:
        text = masked(without_escapes(text), matchers)
        # A secret with something invisible in it; where there is none the text stays as it is.
        bare = without_invisible(text)
        if bare != text and (found := masked(bare, matchers)) != bare:
            text = found
        return mask_urls(text)

    remembered = lru_cache(_REMEMBERED)(clean)
    return lambda text: remembered(text) if len(text) <= _REMEMBERED_CHARS else clean(text)


def _masked_in(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list | tuple):
        return [_masked_in(item, clean) for item in value]
    if isinstance(value, dict):
        return {_masked_in(key, clean): _masked_in(item, clean) for key, item in value.items()}
    if isinstance(value, int | float | None):
        return value
    return clean(str(value))
