"""What commands leave of a list, as the ledger reads them, is what Redis leaves of it."""

import pytest

from harness.evidence.ledger import _trimmed


@pytest.mark.parametrize(
    ("first", "last", "left"),
    [
        (0, -1, "abc"),
        (0, -2, "ab"),
        (0, -3, "a"),
        (0, -4, ""),
        (0, -9, ""),
        (1, -1, "bc"),
        (-2, -1, "bc"),
        (-9, 0, "a"),
        (2, 1, ""),
        (3, 9, ""),
    ],
)
def test_a_trim_leaves_what_redis_leaves(first: int, last: int, left: str) -> None:
    assert _trimmed("abc", [str(first).encode(), str(last).encode()]) == list(left)
