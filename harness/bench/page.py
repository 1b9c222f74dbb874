"""``docs/benchmarks.md``, of which two commands each write their own part."""

from pathlib import Path

#: The section of ``bench --scale``; everything else is of ``bench``.
MANY_WORKERS = "## Many workers"
_NEXT = "\n## "


def put(path: Path, section: str) -> None:
    """Put ``section`` (of :data:`MANY_WORKERS`) where there was one, or at the end of the page."""
    old = _read(path) or "# Benchmarks\n"
    before, _, after = _split(old)
    _write(path, before, section, after)


def rewrite(path: Path, text: str) -> None:
    """Make ``text`` the page, and keep the section of :data:`MANY_WORKERS` that it had."""
    _write(path, text, _split(_read(path))[1], "")


def _split(text: str) -> tuple[str, str, str]:
    """What is before the section, the section (empty if there is none), what is behind it."""
    before, found, rest = f"\n{text}".partition(f"\n{MANY_WORKERS}\n")
    if not found:
        return text, "", ""
    body, more, after = rest.partition(_NEXT)
    return before[1:], found[1:] + body, f"{more}{after}"[1:]


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _write(path: Path, *parts: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(part.strip("\n") for part in parts if part) + "\n")
