"""Tables in Markdown that can be read as they are, and numbers as they stand in them. Pure."""

from collections.abc import Sequence

from harness.bench.rig.figures import Figure

#: Where there is no figure.
NONE = "–"


def rate(figure: Figure) -> list[str]:
    """Two cells: the median, and the range it is the median of."""
    return [number(figure.median), f"{number(min(figure.values))} … {number(max(figure.values))}"]


def number(value: float | None) -> str:
    """With about three digits that mean something."""
    if value is None:
        return NONE
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Names on the left, figures on the right; ``rows`` have a cell for each of ``heads``."""
    first, *others = [max(len(cell) for cell in column) for column in zip(heads, *rows, strict=True)]

    def line(name: str, *cells: str) -> str:
        padded = [cell.rjust(width) for cell, width in zip(cells, others, strict=True)]
        return f"| {' | '.join([name.ljust(first), *padded])} |"

    rule = "|".join(["-" * (first + 2), *("-" * (width + 1) + ":" for width in others)])
    return [line(*heads), f"|{rule}|", *(line(*row) for row in rows)]
