"""What was found, in lines."""

from collections import Counter
from collections.abc import Iterable
from typing import TextIO

from harness.conform.play import Played, Target

ALIKE, DIFFERENT = 0, 1


def tell(target: Target, played: Iterable[Played], out: TextIO) -> int:
    """Write a line per difference as it is found, and a summary; returns the exit status."""
    number = different = 0
    skipped: Counter[str] = Counter()
    for each in played:
        if each.skipped:
            skipped[each.skipped] += 1
            continue
        number += 1
        different += bool(each.differences)
        for difference in each.differences:
            out.write(f"different  {each.exchange.name}: {difference}\n")
            out.flush()
    verb = "all as expected" if not different else f"{different} different"
    out.write(f"{number} exchanges with {target.url}, as the {target.age} server: {verb}\n")
    for missing, count in skipped.items():
        out.write(f"{count} exchanges were not played: they need {missing}\n")
    return DIFFERENT if different else ALIKE
