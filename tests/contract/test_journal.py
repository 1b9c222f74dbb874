"""What the outbox's files survive: a power cut right after a call, and another worker at the same moment."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.queue import outbox
from appliance.queue.outbox import Journal


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What was put on the disk, in order: inode, and its size at that moment."""
    seen: list[tuple[int, int]] = []
    fsync = os.fsync

    def spy(fd: int) -> None:
        fsync(fd)
        seen.append((os.fstat(fd).st_ino, os.fstat(fd).st_size))

    monkeypatch.setattr(os, "fsync", spy)
    return seen


@pytest.fixture
def taken_before_the_lock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Another worker is quicker: just before the next lock it delivers what is in the folder's one file and
    deletes that."""
    flock = fcntl.flock

    def arm(folder: Path) -> None:
        def delivered_first(fd: int, operation: int) -> None:
            monkeypatch.setattr(fcntl, "flock", flock)
            (orphan,) = outbox.orphans(folder)
            orphan.path.unlink()
            flock(fd, operation)

        monkeypatch.setattr(fcntl, "flock", delivered_first)

    return arm


def test_what_was_appended_is_whole_on_the_disk_when_the_call_returns(
    tmp_path: Path, synced: list[tuple[int, int]]
) -> None:
    journal = Journal.create(tmp_path, "me")
    inode = journal.path.stat().st_ino
    for lines in (b"first\n", b"second\n"):
        journal.append(lines)
        assert synced[-1] == (inode, journal.path.stat().st_size)
    assert journal.path.read_bytes() == b"first\nsecond\n"
    journal.close()


def test_that_there_is_a_file_is_on_the_disk_before_anything_is_in_it(
    tmp_path: Path, synced: list[tuple[int, int]]
) -> None:
    Journal.create(tmp_path, "me").close()
    assert tmp_path.stat().st_ino in {inode for inode, _ in synced}


def test_a_dead_workers_file_that_another_has_delivered_meanwhile_is_not_adopted(
    tmp_path: Path, taken_before_the_lock: Callable[[Path], None]
) -> None:
    Journal.create(tmp_path, "dead").close()
    (orphan,) = outbox.orphans(tmp_path)
    taken_before_the_lock(tmp_path)

    assert Journal.adopt(orphan.path) is None


def test_a_new_file_that_another_took_for_a_dead_workers_is_made_again(
    tmp_path: Path, taken_before_the_lock: Callable[[Path], None]
) -> None:
    taken_before_the_lock(tmp_path)

    journal = Journal.create(tmp_path, "me")
    journal.append(b"kept\n")

    assert journal.path.read_bytes() == b"kept\n"
    journal.close()
