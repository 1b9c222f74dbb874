#!/usr/bin/env python3
"""One lane: a pytest run of the test files that no other lane has taken; ``lanes.py`` starts several.

Every lane knows the same files and takes the next one when it is done with the one before: lanes end at about
the same time, whatever the tests are and however busy the machine is. A file is read by the lane that takes
it and by no other (but for one with tests of the image beside others): reading all of them takes ten seconds
of a processor.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

import pytest

#: Those of a folder are taken by one lane as if they were one file: what they share is made once per run, and
#: takes minutes.
TOGETHER = "image"
#: In a file that has tests of that kind, and maybe others.
_NAMED = f"mark.{TOGETHER}"
#: Files that take long, the longest first, so that none is begun when the others are done; then all others.
LONG = (
    f"{TOGETHER} tests/e2e",
    # These wait for the image that the first ones make: a lane that waits costs nothing, beginning late does.
    f"{TOGETHER} *",
    "tests/e2e/test_scenarios.py",
    "tests/chaos/*",
    "tests/integration/test_deployment_environment.py",
    "tests/documentation/test_session.py",
    "tests/integration/test_supervision.py",
    "tests/integration/test_[rw]*.py",
    "tests/integration/test_demo.py",
    "tests/integration/*",
    "tests/contract/test_model.py",
    "tests/process/*",
    "tests/contract/*",
)
#: By how much lanes give way to the one that makes the image, where Linux does not share by session; they
#: still get their share of the machine. (As a session they do not: tests would be held up by what they start,
#: which has its own sessions, and measure that.)
GIVE_WAY = 5


class Taker:
    """A plugin of pytest: what is taken is noted by a file in ``notes``, which all lanes have in common."""

    def __init__(self, notes: Path, first: Sequence[str]) -> None:
        """``first`` are the folders that this lane begins with."""
        self._notes = notes
        self._first = tuple(f"{folder}/*" for folder in first)
        self._to_give_way = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> bool:
        """Read no file yet."""
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests of one file after the other, as pytest runs all there are."""
        items = self._taken(session)
        item = next(items, None)
        while item is not None:
            # Known now, so that what files share is not taken down in between.
            following = next(items, None)
            if self._to_give_way and item.get_closest_marker(TOGETHER) is None:
                self._to_give_way = False
                os.nice(GIVE_WAY)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
            item = following
        return True

    def _taken(self, session: pytest.Session) -> Iterator[pytest.Item]:
        paths = [Path(path).absolute() for path in session.config.args]
        modules = {module.nodeid: module for path in paths for module in _modules(session, path)}
        marked = [name for name, module in modules.items() if _NAMED in module.path.read_text()]
        self._to_give_way = bool(marked)
        groups = {name: [name] for name in modules}
        for name in marked:
            groups.setdefault(f"{TOGETHER} {Path(name).parent}", []).append(name)
        for name in sorted(groups, key=lambda name: (_place(name, self._first), name)):
            try:
                (self._notes / re.sub(r"\W", "-", name)).touch(exist_ok=False)
            except FileExistsError:
                continue
            together = name not in modules
            items = _items(session, [modules[each] for each in groups[name]])
            if together or name in marked:
                items = [
                    item for item in items if (item.get_closest_marker(TOGETHER) is not None) == together
                ]
            session.testscollected += len(items)
            yield from items


def _modules(session: pytest.Session, path: Path) -> Iterator[pytest.Module]:
    """The files at or below ``path`` that pytest would read, none of them read so far."""
    yield from _below(session.config.hook.pytest_collect_directory(path=session.path, parent=session), path)


def _below(folder: pytest.Directory, path: Path) -> Iterator[pytest.Module]:
    # By this hook, since that is when pytest reads a folder's conftest.py.
    report = folder.ihook.pytest_make_collect_report(collector=folder)
    folder.ihook.pytest_collectreport(report=report)
    for child in report.result:
        if isinstance(child, pytest.Directory):
            if child.path.is_relative_to(path) or path.is_relative_to(child.path):
                yield from _below(child, path)
        elif isinstance(child, pytest.Module) and child.path.is_relative_to(path):
            yield child


def _items(session: pytest.Session, modules: Iterable[pytest.Module]) -> list[pytest.Item]:
    """Read these files: their tests, but for those that pytest's own options leave out."""
    items = [item for module in modules for item in session.genitems(module)]
    session.config.hook.pytest_collection_modifyitems(session=session, config=session.config, items=items)
    return items


def _place(name: str, first: Sequence[str]) -> int:
    order = (*first, *LONG)
    return next((number for number, each in enumerate(order) if fnmatch(name, each)), len(order))


if __name__ == "__main__":
    # As python -m pytest has it.
    sys.path[0] = str(Path.cwd())
    notes, first, *arguments = sys.argv[1:]
    sys.exit(pytest.main(arguments, plugins=[Taker(Path(notes), first.split())]))
