"""A load run as a picture: what waits, how long, how many are done, and memory, over time."""

from pathlib import Path

from harness.dev.load.figures import Measured
from harness.evidence.report import draw
from harness.evidence.report.colours import DARK, LIGHT
from harness.evidence.report.svg import SvgCanvas
from harness.evidence.report.view import Curve, View
from harness.failure import CommandFailed

#: Columns in which tasks are summed up, at most.
_COLUMNS = 60
_NARROWEST_S = 0.5
_HEAD = 44.0
_MIB = 1 << 20


def write(measured: Measured, title: str, path: Path) -> None:
    """Write it as ``path`` says, .svg or .png. Raises :class:`~harness.failure.CommandFailed`."""
    shown = view(measured)
    height = _HEAD + draw.height(shown)
    try:
        if path.suffix == ".png":
            _png(shown, title, height, path)
        else:
            path.write_text(_svg(shown, title, height), encoding="utf-8")
    except OSError as exc:
        raise CommandFailed(f"--picture {path}: {exc.strerror}") from exc


def view(measured: Measured) -> View:
    """The curves."""
    runs, samples = measured.runs, [sample for sample in measured.samples if sample.at_s >= 0]
    end_s = max(
        [_NARROWEST_S, measured.sending_s, *(run.ended_s for run in runs), *(each.at_s for each in samples)]
    )
    number = max(1, min(_COLUMNS, int(end_s / _NARROWEST_S)))
    width_s = end_s / number
    columns: list[list[float]] = [[] for _ in range(number)]
    for run in runs:
        columns[min(int(run.ended_s / width_s), number - 1)].append(run.wait_s)
    starts = [each * width_s for each in range(number)]
    rates = [round(len(waits) / width_s, 3) for waits in columns]
    waits = [round(max(column, default=0.0), 3) for column in columns]
    memory = [(each.at_s, sum(each.memory_bytes) / _MIB) for each in samples]
    curves = [
        Curve("done, tasks/s", "rate", list(zip(starts, rates, strict=True))),
        Curve("waiting, tasks", "waiting", [(each.at_s, float(each.waiting)) for each in samples]),
        Curve("longest wait, s", "task-failed", list(zip(starts, waits, strict=True))),
        Curve("memory, MiB", "task", memory),
    ]
    return View(end_s, (), [curve for curve in curves if curve.points], ())


def _svg(shown: View, title: str, height: float) -> str:
    canvas = SvgCanvas()
    canvas.rect(0, 0, draw.WIDTH, height, "paper")
    canvas.text(8, 24, title, size=16)
    draw.draw(shown, canvas, _HEAD)
    light, dark = (";".join(f"--{role}:{colour}" for role, colour in each.items()) for each in (LIGHT, DARK))
    style = f"<style>:root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    element = canvas.element(draw.WIDTH, height, title)
    head, bracket, rest = element.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg" font-family="sans-serif"{bracket}{style}{rest}\n'


def _png(shown: View, title: str, height: float, path: Path) -> None:
    try:
        from harness.evidence.report.picture import PngCanvas  # noqa: PLC0415  an extra
    except ImportError as exc:
        raise CommandFailed(
            f"--picture {path}: Pillow is not installed (pip install pillow); .svg needs nothing"
        ) from exc
    canvas = PngCanvas(draw.WIDTH, height)
    canvas.text(8, 24, title, size=16)
    draw.draw(shown, canvas, _HEAD)
    canvas.image.save(path, optimize=True)
