"""The lines of the outbox: what was written is read, and damage costs no more than what it touched."""

from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from appliance.queue.message import Lease
from appliance.queue.record import Contents, Kept, decode, encode, encode_done
from appliance.queue.settlement import Archive, Complete, Defer, GiveBack, Retry, Settlement

#: What ids in Redis can be: any bytes, read as the worker reads them.
words = st.binary(max_size=12).map(lambda raw: raw.decode(errors="surrogateescape"))
leases = st.builds(Lease, words, words, words, words)
seconds = st.floats(0, 1e9)
blobs = st.binary(max_size=40)
settlements: st.SearchStrategy[Settlement] = st.one_of(
    st.builds(Complete, leases, blobs, seconds, words),
    st.builds(Retry, leases, seconds, st.integers(0, 99), words, blobs),
    st.builds(Archive, leases, seconds, words, blobs),
    st.builds(GiveBack, leases, words),
    st.builds(Defer, leases, seconds, words),
)
many = st.lists(
    st.builds(Kept, words, settlements, seconds), max_size=5, unique_by=lambda k: k.settlement.lease
)
ONE, TWO, THREE = (
    Kept("host:1/0", Complete(Lease("q.a", task_id, "me", "1"), b'{"x": 1}', 5, ""), 7.0) for task_id in "abc"
)


@given(many)
def test_what_was_written_is_read(kept: list[Kept]) -> None:
    assert decode(b"".join(map(encode, kept))) == Contents(tuple(kept), (), b"")


@given(many)
def test_a_writer_killed_at_any_byte_costs_only_the_line_it_was_at(kept: list[Kept]) -> None:
    lines = [encode(one) for one in kept]
    data = b"".join(lines)
    for length in range(len(data) + 1):
        whole, end = 0, 0
        while whole < len(lines) and end + len(lines[whole]) <= length:
            end += len(lines[whole])
            whole += 1
        assert decode(data[:length]) == Contents(tuple(kept[:whole]), (), data[end:length])


def test_a_flipped_bit_anywhere_costs_only_its_own_line() -> None:
    lines = [encode(one) for one in (ONE, TWO, THREE)]
    for at in range(len(lines[1]) - 1):
        damaged = bytearray(lines[1])
        damaged[at] ^= 0x04
        found = decode(lines[0] + damaged + lines[2])
        assert found.kept == (ONE, THREE)
        assert b"\n".join((*found.unreadable, b"")) == damaged


def test_outcomes_taken_back_are_gone_and_a_later_one_of_the_same_attempt_counts() -> None:
    data = encode(ONE) + encode(TWO) + encode_done([ONE.settlement.lease])
    assert decode(data).kept == (TWO,)
    assert decode(data + encode(ONE)).kept == (TWO, ONE)


def test_a_line_of_another_version_is_not_guessed_at() -> None:
    text = b'{"v": 2, "done": []}'
    line = b"%08x %s" % (crc32(text), text)
    assert decode(line + b"\n") == Contents((), (line,), b"")
