"""What of a secret gives it away when it stands alone: its lines, its JSON leaves, its passwords. Pure."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

#: A shorter value is no secret worth the name, and masking it would shred ordinary text.
SHORTEST = 4
#: Nor are these.
_CONSTANTS = frozenset({"true", "false", "null", "none"})
#: Digits that a number of a JSON value has at least: a shorter one is a port, a size, a year.
_FEWEST_DIGITS = 7
#: What frames a key or certificate, the same in all of them.
_ARMOUR = re.compile(r"-----(?:BEGIN|END) [A-Z0-9 ]+-----")
#: Passwords as settings files and connection strings have them: a name that says it, and the value.
_NAMED = re.compile(
    r"(?:passw(?:or)?d|passphrase|pwd|secret|token|key)[\"']?\s*[=:]\s*(?:\"([^\"\n]+)\"|'([^'\n]+)'|([^\s\"';,&]+))",
    re.IGNORECASE,
)


def is_secret(text: str) -> bool:
    """Whether ``text`` is worth masking: long enough, and no word like ``true``."""
    return len(text) >= SHORTEST and text.lower() not in _CONSTANTS


def parts(secret: str) -> list[str]:
    """``secret`` and what of it may be printed without the rest, each once, the whole first.

    Those are the leaves of a JSON value, the lines of other text, passwords in URLs and settings. What is not
    :func:`is_secret` is left out.
    """
    found = {secret: None}
    leaves = list(_leaves(secret))
    for text in leaves or [secret]:
        for part in (text, *passwords(text), *map(str.strip, text.splitlines())):
            found[part] = None
    return [part for part in found if is_secret(part) and not _ARMOUR.fullmatch(part)]


def _leaves(text: str) -> Iterator[str]:
    """The strings and long numbers in a JSON object or list; none where ``text`` is neither."""
    if not text.lstrip().startswith(("{", "[")):
        return
    try:
        waiting: list[Any] = [json.loads(text)]
    except (ValueError, RecursionError):
        return
    # No recursion: a value may be nested as deeply as the decoder allows.
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, str):
            yield value
        elif isinstance(value, int) and abs(value) >= 10 ** (_FEWEST_DIGITS - 1):
            yield str(value)


def passwords(text: str) -> Iterator[str]:
    """The passwords in addresses and settings in ``text``, and tokens that stand in the place of a user."""
    for line in text.splitlines():
        if "://" in line:
            yield from _url_password(line.strip())
        for found in _NAMED.finditer(line):
            yield next(filter(None, found.groups()))


def _url_password(url: str) -> Iterator[str]:
    try:
        address = urlsplit(url)
    except ValueError:
        return
    # Forges take a token as the user.
    password = address.password or (address.username if address.scheme in {"http", "https"} else None)
    if password:
        yield from {password, unquote(password)}
