"""Durations in Go's notation, because the file and the variables are shared with a Go worker. Pure.

Grammar and units are those of Go's ``time.ParseDuration``: an optional sign, then numbers with a
unit each (``1h30m``, ``1.5h``, ``500ms``), or a bare ``0``. Like there, digits below a nanosecond
are cut off. Unlike there, more than ten years is refused: it can only be a mistake.
"""

import re
from fractions import Fraction

_SECOND_NS = 1_000_000_000
_MINUTE_NS = 60 * _SECOND_NS
_HOUR_NS = 60 * _MINUTE_NS

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # the micro sign
    "\u03bcs": 1_000,  # the Greek letter, which keyboards give as often
    "ms": 1_000_000,
    "s": _SECOND_NS,
    "m": _MINUTE_NS,
    "h": _HOUR_NS,
}

#: Longest duration that is understood, in hours: ten years.
LONGEST_H = 87_600

#: Longest text that is looked at, in characters; turning digits into a number is quadratic.
_LONGEST_TEXT = 100

_TERM = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]+)")
_BARE_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")


def parse_duration(text: str) -> float:
    """Return the seconds that ``text`` (``500ms``, ``1m30s``, ``-1.5h``, ``0``) stands for.

    Raises ValueError with a reason that completes "the value ...".
    """
    if len(text) > _LONGEST_TEXT:
        raise ValueError("is too long")
    sign, unsigned = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if unsigned == "0":
        return 0.0
    if _BARE_NUMBER.fullmatch(unsigned):
        raise ValueError(f"has no unit: add one, e.g. {text}s")
    total_ns = 0
    position = 0
    while position < len(unsigned) or not position:
        term = _TERM.match(unsigned, position)
        if term is None or not (term[1] or term[2]):
            raise ValueError("is not a duration")
        total_ns += _term_ns(*term.groups(default=""))
        position = term.end()
    if total_ns > LONGEST_H * _HOUR_NS:
        raise ValueError("is longer than ten years")
    return sign * total_ns / _SECOND_NS if total_ns else 0.0


def _term_ns(whole: str, fraction: str, unit: str) -> int:
    if unit not in _UNITS_NS:
        raise ValueError(f"has the unknown unit {unit!r}: use ns, us, ms, s, m or h")
    unit_ns = _UNITS_NS[unit]
    scale: int = 10 ** len(fraction)
    return int(whole or "0") * unit_ns + int(fraction or "0") * unit_ns // scale


def format_duration(seconds: float) -> str:
    """Return ``seconds`` in the notation above, to the nanosecond, with no more units than needed.

    The inverse of :func:`parse_duration` for everything that returns.
    """
    # Fraction, because seconds times 1e9 in floats loses nanoseconds from about 100 days on.
    signed_ns = round(Fraction(seconds) * _SECOND_NS)
    sign, total_ns = ("-", -signed_ns) if signed_ns < 0 else ("", signed_ns)
    if total_ns == 0:
        return "0"
    if total_ns < _SECOND_NS:
        unit = next(unit for unit in ("ms", "us", "ns") if total_ns >= _UNITS_NS[unit])
        return sign + _decimal(total_ns, _UNITS_NS[unit]) + unit
    hours, rest_ns = divmod(total_ns, _HOUR_NS)
    minutes, rest_ns = divmod(rest_ns, _MINUTE_NS)
    parts = [f"{hours}h"] if hours else []
    parts += [f"{minutes}m"] if minutes else []
    parts += [_decimal(rest_ns, _SECOND_NS) + "s"] if rest_ns else []
    return sign + "".join(parts)


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = str(rest).zfill(len(str(unit)) - 1).rstrip("0")
    return f"{whole}.{digits}" if rest else str(whole)
