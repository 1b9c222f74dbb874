"""The timelines as one PNG, for where no page is looked at: a mail, a ticket, a chat.

Pillow draws it: a tenth of matplotlib's weight, and enough for rectangles and text.
"""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from harness.evidence.report import draw
from harness.evidence.report.colours import LIGHT
from harness.evidence.report.model import Report, Section
from harness.evidence.report.view import view

#: Pixels for each unit of the drawing.
_SCALE = 1.6
#: Sections in the picture: more than that cannot be read in one.
_MOST = 6
_HEAD, _GAP = 56.0, 30.0


class PngCanvas:
    """See :class:`~harness.evidence.report.draw.Canvas`."""

    def __init__(self, width: float, height: float) -> None:
        self.image = Image.new("RGB", (round(width * _SCALE), round(height * _SCALE)), LIGHT["paper"])
        self._draw = ImageDraw.Draw(self.image)

    def rect(self, x: float, y: float, width: float, height: float, role: str, text: str = "") -> None:  # noqa: ARG002
        """See :class:`~harness.evidence.report.draw.Canvas`; a picture has no room for explanations."""
        box = [x * _SCALE, y * _SCALE, (x + width) * _SCALE - 1, (y + height) * _SCALE - 1]
        self._draw.rectangle(box, fill=LIGHT[role])

    def line(self, x1: float, y1: float, x2: float, y2: float, role: str) -> None:
        """See :class:`~harness.evidence.report.draw.Canvas`."""
        self._draw.line([x1 * _SCALE, y1 * _SCALE, x2 * _SCALE, y2 * _SCALE], fill=LIGHT[role])

    def area(self, points: Sequence[tuple[float, float]], role: str) -> None:
        """See :class:`~harness.evidence.report.draw.Canvas`."""
        self._draw.polygon([(x * _SCALE, y * _SCALE) for x, y in points], fill=LIGHT[role])

    def text(
        self, x: float, y: float, text: str, *, anchor: str = "start", size: float = 12, role: str = "text"
    ) -> None:
        """See :class:`~harness.evidence.report.draw.Canvas`."""
        font = ImageFont.load_default(size * _SCALE)
        anchors = {"start": "ls", "middle": "ms", "end": "rs"}
        self._draw.text((x * _SCALE, y * _SCALE), text, fill=LIGHT[role], font=font, anchor=anchors[anchor])


def write(report: Report, path: Path) -> None:
    """Write the picture: failed sections first, then those with most to see."""
    chosen = sorted(report.sections, key=lambda section: (section.passed, -_interest(section)))[:_MOST]
    views = [(section, view(section.events)) for section in chosen]
    total = _HEAD + sum(draw.height(shown) + _GAP for _, shown in views) + 16
    canvas = PngCanvas(draw.WIDTH, total)
    canvas.text(8, 24, report.title, size=18)
    canvas.text(8, 44, report.summary, size=12, role="good" if report.passed else "bad")
    y = _HEAD
    for section, shown in views:
        result = "ok" if section.passed else "FAILED"
        role = "good" if section.passed else "bad"
        canvas.text(8, y + 16, f"{result}  {section.title}: {section.claim}", size=13, role=role)
        draw.draw(shown, canvas, y + _GAP)
        y += draw.height(shown) + _GAP
    canvas.image.save(path, optimize=True)


def _interest(section: Section) -> int:
    return sum(event.kind.startswith(("restart.", "fault.", "diary.crash")) for event in section.events)
