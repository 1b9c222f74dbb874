"""Task messages as bytes with what is in them, made by neither of the two encoders they judge.

They come from protobuf's own library with asynq's schema, the uncanonical ones from a hex editor.
In the files, fields of bytes are hex.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BYTES = ("payload", "unknown")


@dataclass(frozen=True)
class Golden:
    """One message. ``canonical``: an encoder writes ``fields`` as exactly these bytes."""

    name: str
    why: str
    canonical: bool
    message: bytes
    fields: dict[str, Any]


def load() -> list[Golden]:
    """All of them."""
    return [_read(path) for path in sorted((Path(__file__).parent / "golden").glob("*.json"))]


def _read(path: Path) -> Golden:
    content = json.loads(path.read_text())
    fields = {n: bytes.fromhex(v) if n in _BYTES else v for n, v in content["fields"].items()}
    return Golden(path.stem, content["why"], content["canonical"], bytes.fromhex(content["hex"]), fields)
