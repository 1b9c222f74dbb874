"""One place that knows the secrets, so that every sink can be kept free of them.

Some vault entries are no secrets: ``MODE=inference`` beside a queue of that name. Masked everywhere, such a
value would make our own log unreadable. So what is a common word or number stays in the fields that only
ever hold words of ours and public names; in all other text (output, errors, tracebacks) it is masked like
any secret.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: What stands where a secret stood.
MASK = "********"
#: Shorter values are no secrets worth the name, and masking them would shred ordinary text.
SHORTEST_SECRET = 4
#: Nor are these.
_CONSTANTS = frozenset({"true", "false", "null", "none"})
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
        "verdict",
        "src",
        "mode",
        "signal",
        "version",
        "python",
        "state",
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
    """Masks known secrets in text. Secrets are added as they become known, longest masked first."""

    def __init__(self) -> None:
        self._secrets: list[str] = []
        self._uncommon: list[str] = []
        self._public = ""

    def publish(self, *names: str) -> None:
        """These are no secrets: whatever is part of one counts as a common word."""
        self._public = "\n".join((self._public, *names))
        self._sort_out()

    def add(self, *secrets: str | None) -> None:
        """Mask these from now on, and each line of those that have several; very short ones are ignored."""
        known = set(self._secrets)
        for secret in secrets:
            if secret:
                known |= {secret, *(line.strip() for line in secret.splitlines())}
        self._secrets = sorted((s for s in known if _worth_masking(s)), key=len, reverse=True)
        self._sort_out()

    def remarks(self, vaults: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """Names of entries that are not masked, or make trouble where they are, each with what to know."""
        for name, value in sorted(vaults.items()):
            if value and not _worth_masking(value):
                yield name, "its value is not masked in logs: too short, or a word like true"
            elif value and self._is_common(value):
                yield (
                    name,
                    "its value is a common word or number: masked wherever output and errors have it",
                )

    def text(self, text: str) -> str:
        """``text`` with every secret masked."""
        return _masked(text, self._secrets)

    def field(self, name: str, value: Any) -> Any:
        """The same for a field of a log event: text, and text inside lists, tuples and dicts."""
        return _masked_in(value, self._uncommon if name in OWN_FIELDS else self._secrets)

    def _sort_out(self) -> None:
        self._uncommon = [secret for secret in self._secrets if not self._is_common(secret)]

    def _is_common(self, secret: str) -> bool:
        longest = _LONGEST_NUMBER if secret.isdecimal() else _LONGEST_COMMON
        return secret in self._public or (len(secret) <= longest and bool(_COMMON.fullmatch(secret)))


def _worth_masking(secret: str) -> bool:
    return len(secret) >= SHORTEST_SECRET and secret.lower() not in _CONSTANTS


def _masked(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, MASK)
    return text


def _masked_in(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, str):
        return _masked(value, secrets)
    if isinstance(value, list | tuple):
        return [_masked_in(item, secrets) for item in value]
    if isinstance(value, dict):
        return {_masked_in(key, secrets): _masked_in(item, secrets) for key, item in value.items()}
    if isinstance(value, int | float | None):
        return value
    return _masked(str(value), secrets)
