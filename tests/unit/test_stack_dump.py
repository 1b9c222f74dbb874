"""What faulthandler wrote is found among the last lines, its telling part first."""

import os
import signal
from pathlib import Path

import pytest

from appliance.process import stack_dump

THREADS = (
    "loading",
    "Fatal Python error: Aborted",
    "Thread 0x00007f01 (most recent call first):",
    '  File "/usr/lib/python3.11/threading.py", line 320 in wait',
    "Current thread 0x00007f02 (most recent call first):",
    '  File "main.py", line 7 in stuck',
    '  File "main.py", line 12 in <module>',
    "Extension modules: numpy (total: 1)",
)


def test_the_thread_that_had_the_fault_comes_first_and_nothing_but_stacks_is_kept() -> None:
    assert stack_dump.found(THREADS) == (
        "Fatal Python error: Aborted",
        "Current thread 0x00007f02 (most recent call first):",
        '  File "main.py", line 7 in stuck',
        '  File "main.py", line 12 in <module>',
        "Thread 0x00007f01 (most recent call first):",
        '  File "/usr/lib/python3.11/threading.py", line 320 in wait',
    )


def test_the_headline_says_the_fault_and_the_place() -> None:
    stacks = stack_dump.found(THREADS)
    assert stack_dump.headline(stacks) == 'Fatal Python error: Aborted, File "main.py", line 7 in stuck'
    assert stack_dump.headline(("Fatal Python error: oops",)) == "Fatal Python error: oops"


def test_of_two_dumps_the_last_counts_and_it_is_bounded() -> None:
    deep = ["Fatal Python error: b", "Current thread 1 (most recent call first):"]
    deep += [f'  File "x.py", line {line} in deeper' for line in range(1_000)]

    stacks = stack_dump.found(["Fatal Python error: a", *deep])

    assert stacks[0] == "Fatal Python error: b"
    assert len(stacks) == stack_dump.MOST_LINES


@pytest.mark.parametrize("lines", [(), ("Traceback (most recent call last):", "ValueError: x")])
def test_where_there_is_no_dump_none_is_found(lines: tuple[str, ...]) -> None:
    assert stack_dump.found(lines) == ()


def test_what_a_process_catches_is_read_from_the_system(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text(
        "Name:\tpython\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000000020\n"
    )

    assert stack_dump.catches(7, signal.SIGABRT, tmp_path)
    assert not stack_dump.catches(7, signal.SIGTERM, tmp_path)
    assert not stack_dump.catches(8, signal.SIGABRT, tmp_path), "gone"


def test_a_process_that_catches_nothing_is_not_asked() -> None:
    assert stack_dump.dumper(2**22) is None, "gone"
    assert os.getpid()
