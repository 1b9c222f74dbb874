"""A worker's log while it grows: each event once."""

import json
from pathlib import Path
from typing import Any

#: Bytes that are read at a time.
_AT_ONCE = 1 << 20


class LogTail:
    """Of the file at ``path``, which need not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._rest = b""

    def news(self) -> list[dict[str, Any]]:
        """What was logged since the last look; a line that is no event is one with its ``text`` alone."""
        try:
            with self._path.open("rb") as log:
                log.seek(self._read)
                found = log.read(_AT_ONCE)
        except FileNotFoundError:
            return []
        self._read += len(found)
        *lines, self._rest = (self._rest + found).split(b"\n")
        return [_event(line.decode(errors="replace")) for line in lines if line.strip()]


def _event(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"text": line}
