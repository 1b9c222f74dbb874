"""Whether saved code can be compiled at all.

A long-running process shows that itself before it takes over. In one_shot mode there is no process until a
task comes, and the first task would have to show it.
"""

import traceback
import warnings
from collections.abc import Iterable
from pathlib import Path


def problem(folder: Path, names: Iterable[str]) -> str:
    """What Python says of the first of these files that is none of its programs; empty where all are."""
    for name in names:
        if not name.endswith(".py"):
            continue
        try:
            source = (folder / name).read_bytes()
        except OSError:
            continue  # deleted
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                compile(source, name, "exec", dont_inherit=True)
            except (SyntaxError, ValueError) as exc:
                return "".join(traceback.format_exception_only(exc)).rstrip()
    return ""
