"""A canvas that is SVG text; colours are CSS variables, so that the page decides about light and dark."""

from collections.abc import Sequence
from html import escape


class SvgCanvas:
    """See :class:`~harness.evidence.report.draw.Canvas`."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def rect(self, x: float, y: float, width: float, height: float, role: str, text: str = "") -> None:
        """See :class:`~harness.evidence.report.draw.Canvas`."""
        title = f"<title>{escape(text)}</title>" if text else ""
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'fill="var(--{escape(role)})">{title}</rect>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, role: str) -> None:
        """See :class:`~harness.evidence.report.draw.Canvas`."""
        self._parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="var(--{escape(role)})"/>'
        )

    def area(self, points: Sequence[tuple[float, float]], role: str) -> None:
        """See :class:`~harness.evidence.report.draw.Canvas`."""
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polygon points="{text}" fill="var(--{escape(role)})"/>')

    def text(self, x: float, y: float, text: str, *, anchor: str = "start", size: float = 12) -> None:
        """See :class:`~harness.evidence.report.draw.Canvas`."""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" text-anchor="{anchor}" '
            f'fill="var(--text)">{escape(text)}</text>'
        )

    def element(self, width: float, height: float, label: str) -> str:
        """All of it, as an element for a page."""
        return (
            f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(label)}">'
            f"{''.join(self._parts)}</svg>"
        )
