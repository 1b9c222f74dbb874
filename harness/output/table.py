"""Tables of what people list: columns that stay where they are, whatever program reads them.

Columns are two blanks apart. On a terminal that is too narrow the last columns go into a second line under
each row, as words; what is too long even so is cut. Elsewhere a row is a line, and nothing is cut.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.output.terminal import Style, Terminal, columns_of, cut, one_line

_GAP = "  "
_INDENT = "    "


@dataclass(frozen=True)
class Column:
    """A heading; ``right`` is for numbers. ``style`` says how a value is painted, if at all.

    ``words`` is how a value is said in a second line, ``{}`` standing for it.
    """

    heading: str
    right: bool = False
    style: Callable[[str], Style | None] = lambda _: None
    words: str = "{}"


def write(terminal: Terminal, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Write the headings and ``rows``, each with a text for each column."""
    shown = [[one_line(text) for text in row] for row in rows]
    widths = [
        max(columns_of(text) for text in (column.heading, *(row[at] for row in shown)))
        for at, column in enumerate(columns)
    ]
    room = terminal.width - 1 if terminal.lively else None
    beside = _beside(widths, room, last_may_be_cut=not columns[-1].right)
    terminal.line(terminal.strong(_headings(columns[:beside], widths, room)))
    for row in shown:
        terminal.line(_line(terminal, columns[:beside], row, widths, room))
        told = ", ".join(
            column.words.format(text)
            for column, text in zip(columns[beside:], row[beside:], strict=True)
            if text
        )
        if told:
            terminal.line(terminal.aside(cut(_INDENT + told, room or columns_of(told))))


def _beside(widths: Sequence[int], room: int | None, *, last_may_be_cut: bool) -> int:
    """How many columns stand in a line."""
    if room is None or sum(widths) + len(_GAP) * (len(widths) - 1) <= room:
        return len(widths)
    taken = fit = 0
    for number, width in enumerate(widths, 1):
        taken += width + (len(_GAP) if number > 1 else 0)
        fit = number if taken <= room else fit
    # A last column that is text, and has half of the line, is better cut there.
    if last_may_be_cut and fit == len(widths) - 1 and (room - (taken - widths[-1])) * 2 >= room:
        return len(widths)
    return max(fit, 1)


def _headings(columns: Sequence[Column], widths: Sequence[int], room: int | None) -> str:
    texts = [
        f"{column.heading:>{width}}" if column.right else f"{column.heading:<{width}}"
        for column, width in zip(columns, widths, strict=False)
    ]
    line = _GAP.join(texts).rstrip()
    return line if room is None else cut(line, room)


def _line(
    terminal: Terminal, columns: Sequence[Column], row: Sequence[str], widths: Sequence[int], room: int | None
) -> str:
    left, parts = room, []
    for number, (column, text, width) in enumerate(zip(columns, row, widths, strict=False)):
        blanks = " " * (width - columns_of(text))
        last = number == len(columns) - 1
        gap = _GAP if number else ""
        shown = text
        if left is not None:
            shown = cut(text, max(0, left - len(gap) - (len(blanks) if column.right else 0)))
            left -= len(gap) + width
        # Cut before it is painted: half of a colour's sequence would be obeyed as something else.
        style = column.style(text)
        painted = terminal.paint(style, shown) if style and shown else shown
        parts.append(gap + (blanks + painted if column.right else painted if last else painted + blanks))
    return "".join(parts).rstrip()
