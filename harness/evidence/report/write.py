"""Writes a report into a folder: ``report.html``, ``report.png``."""

from pathlib import Path

from harness.evidence.report.model import Report
from harness.evidence.report.page import page


def write(report: Report, folder: Path) -> list[str]:
    """Write it; returns a line on each thing that was written, or could not be and why."""
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / "report.html"
    written.write_text(page(report), encoding="utf-8")
    lines = [f"report: {written}"]
    try:
        from harness.evidence.report import picture  # noqa: PLC0415  an extra
    except ImportError:
        return [*lines, "no report.png: Pillow is not installed (pip install pillow)"]
    picture.write(report, folder / "report.png")
    return [*lines, f"picture: {folder / 'report.png'}"]
