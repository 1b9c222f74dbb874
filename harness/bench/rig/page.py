"""``docs/benchmarks.md``: several commands each write their own part of it, and people one."""

from pathlib import Path

#: The sections of ``bench --scale`` and ``bench --sizes``, and the one that people write; everything else is
#: of ``bench``.
MANY_WORKERS = "## Many workers"
WHERE_TIME_GOES = "## Where the time goes"
SIZES = "## Payloads and sub-queues"
_NEXT = "\n## "


def put(path: Path, section: str, heading: str = MANY_WORKERS) -> None:
    """Put ``section``, which has this ``heading``, where there was one, or at the end of the page."""
    old = _read(path) or "# Benchmarks\n"
    before, _, after = _split(old, heading)
    _write(path, before, section, after)


def rewrite(path: Path, text: str) -> None:
    """Make ``text`` the page, and keep the sections that are not of ``bench``."""
    old = _read(path)
    _write(path, text, *(_split(old, heading)[1] for heading in (WHERE_TIME_GOES, MANY_WORKERS, SIZES)))


def _split(text: str, heading: str) -> tuple[str, str, str]:
    """What is before the section, the section (empty if there is none), what is behind it."""
    before, found, rest = f"\n{text}".partition(f"\n{heading}\n")
    if not found:
        return text, "", ""
    body, more, after = rest.partition(_NEXT)
    return before[1:], found[1:] + body, f"{more}{after}"[1:]


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _write(path: Path, *parts: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(part.strip("\n") for part in parts if part) + "\n")
