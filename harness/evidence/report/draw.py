"""Draws a view on any canvas: the same picture as SVG in the page and as PNG beside it."""

from collections.abc import Sequence
from typing import Protocol

from harness.evidence.report.view import Bar, Curve, Row, View

WIDTH = 1000.0
#: Where labels end and time begins, and where it ends.
LEFT, RIGHT = 190.0, 985.0
ROW, BAR, CURVE = 26.0, 14.0, 64.0
AXIS = 30.0
#: Narrowest bar, so that what was short is to be seen.
_NARROWEST = 2.0
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
#: Every role that a bar, a window or a mark can have, with what it stands for.
LEGEND = (
    ("bootstrapping", "worker starts"),
    ("running", "worker runs"),
    ("unhealthy", "not healthy"),
    ("recovering", "waits for a restart"),
    ("degraded", "degraded"),
    ("stopped", "stopped"),
    ("exit", "worker ended"),
    ("starting", "process starts"),
    ("up", "process up"),
    ("expected", "restart expected"),
    ("crash", "crash"),
    ("task", "task"),
    ("task-failed", "task failed"),
    ("task-lost", "task cut short"),
    ("fault", "fault"),
)
_LEGEND_LINE = 18.0


class Canvas(Protocol):
    """Something to draw on; ``role`` names a colour, sizes are in units of a picture 1000 wide."""

    def rect(self, x: float, y: float, width: float, height: float, role: str, text: str = "") -> None:
        """A filled rectangle; ``text`` explains it where that can be shown."""

    def line(self, x1: float, y1: float, x2: float, y2: float, role: str) -> None:
        """A thin line."""

    def area(self, points: Sequence[tuple[float, float]], role: str) -> None:
        """A filled polygon."""

    def text(self, x: float, y: float, text: str, *, anchor: str = "start", size: float = 12) -> None:
        """Text with its baseline at ``y``; ``anchor`` is start, middle or end."""


def height(view: View) -> float:
    """What :func:`draw` needs, legend included."""
    return _rows_height(view) + AXIS + 8.0 + _LEGEND_LINE * max(1, len(_legend(view)))


def draw(view: View, canvas: Canvas, top: float = 0.0) -> None:
    """Draw ``view`` below ``top``."""
    scale = (RIGHT - LEFT) / max(view.duration_s, 0.001)
    bottom = top + _rows_height(view)
    _draw_axis(view, canvas, scale, top, bottom)
    y = top
    for row in view.rows:
        _draw_row(row, canvas, scale, y)
        y += ROW
    for curve in view.curves:
        _draw_curve(curve, view.duration_s, canvas, scale, y)
        y += CURVE
    for number, line in enumerate(_legend(view)):
        for x, role, text in line:
            below = bottom + AXIS + 14 + number * _LEGEND_LINE
            canvas.rect(x, below - 8, 10, 10, role)
            canvas.text(x + 15, below + 1, text, size=11)


def _rows_height(view: View) -> float:
    return len(view.rows) * ROW + len(view.curves) * CURVE


def _draw_axis(view: View, canvas: Canvas, scale: float, top: float, bottom: float) -> None:
    step = next((tick for tick in _TICKS if view.duration_s / tick <= 12), _TICKS[-1])
    for n in range(int(view.duration_s / step) + 1):
        x = LEFT + n * step * scale
        canvas.line(x, top, x, bottom, "grid")
        canvas.text(x, bottom + 15, f"{n * step:g} s", anchor="middle", size=11)


def _draw_row(row: Row, canvas: Canvas, scale: float, y: float) -> None:
    canvas.text(8 if not row.label.startswith(" ") else 20, y + ROW / 2 + 4, row.label.strip())
    inset = (ROW - BAR) / 2
    for window in row.windows:
        x, width = _place(window, scale)
        canvas.rect(x, y + 1, width, ROW - 2, window.role, window.text)
    for gap in row.gaps:
        x, width = _place(gap, scale)
        canvas.line(x, y + ROW / 2, x + width, y + ROW / 2, "dim")
        if width > len(gap.text) * 6.5 + 8:
            canvas.text(x + width / 2, y + ROW / 2 - 4, gap.text, anchor="middle", size=10)
    for bar in row.bars:
        x, width = _place(bar, scale)
        canvas.rect(x, y + inset, width, BAR, bar.role, f"{bar.text} ({bar.from_s:.2f}–{bar.to_s:.2f} s)")
    free_from = 0.0
    for mark in sorted(row.marks, key=lambda mark: mark.from_s):
        x = LEFT + mark.from_s * scale
        canvas.rect(x - 1, y + 3, _NARROWEST, ROW - 6, mark.role, f"{mark.text} ({mark.from_s:.2f} s)")
        # Names of faults, as far as there is room for them.
        if mark.role == "fault" and x >= free_from and x + len(mark.text) * 5.5 < RIGHT:
            canvas.text(x + 4, y + ROW / 2 + 3.5, mark.text, size=10)
            free_from = x + len(mark.text) * 5.5 + 8


def _draw_curve(curve: Curve, end_s: float, canvas: Canvas, scale: float, y: float) -> None:
    base, top = y + CURVE - 6, y + 10
    most = curve.most or 1.0
    points = [(LEFT, base)]
    for (at_s, value), following in zip(curve.points, [*curve.points[1:], (end_s, 0.0)], strict=True):
        level = base - (base - top) * value / most
        points += [(LEFT + at_s * scale, level), (LEFT + min(following[0], end_s) * scale, level)]
    points.append((points[-1][0], base))
    canvas.area(points, curve.role)
    canvas.line(LEFT, base, RIGHT, base, "grid")
    canvas.text(8, y + CURVE / 2 + 4, curve.label)
    canvas.text(LEFT - 6, top + 6, f"{most:g}" if most < 10 else f"{most:.0f}", anchor="end", size=11)


def _legend(view: View) -> list[list[tuple[float, str, str]]]:
    """Lines of places, roles and texts: of what is drawn, and no line longer than there is room."""
    shown = {bar.role for row in view.rows for bar in (*row.bars, *row.windows, *row.marks)}
    lines: list[list[tuple[float, str, str]]] = []
    x = RIGHT
    for role, text in LEGEND:
        if role not in shown:
            continue
        width = 26 + len(text) * 6.2
        if x + width > RIGHT:
            lines.append([])
            x = LEFT
        lines[-1].append((x, role, text))
        x += width
    return lines


def _place(bar: Bar, scale: float) -> tuple[float, float]:
    return LEFT + bar.from_s * scale, max((bar.to_s - bar.from_s) * scale, _NARROWEST)
