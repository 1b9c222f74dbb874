"""The lines of the outbox: what was written is read, and damage costs no more than what it touched."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.queue import record
from appliance.queue.message import Lease
from appliance.queue.record import Contents, Kept
from appliance.queue.seal import Seal
from appliance.queue.settlement import Archive, Complete, Defer, Retry, Return, Settlement

#: What ids in Redis can be: any bytes, read as the worker reads them.
words = st.binary(max_size=12).map(lambda raw: raw.decode(errors="surrogateescape"))
leases = st.builds(Lease, words, words, words, words)
seconds = st.floats(0, 1e9)
blobs = st.binary(max_size=40)
settlements: st.SearchStrategy[Settlement] = st.one_of(
    st.builds(Complete, leases, blobs, seconds, words),
    st.builds(Retry, leases, seconds, st.integers(0, 99), words, blobs),
    st.builds(Archive, leases, seconds, words, blobs),
    st.builds(Return, leases, words),
    st.builds(Defer, leases, seconds, words),
)
many = st.lists(
    st.builds(Kept, words, settlements, seconds), max_size=5, unique_by=lambda k: k.settlement.lease
)
ONE, TWO, THREE = (
    Kept("host:1/0", Complete(Lease("q.a", task_id, "me", "1"), b'{"x": 1}', 5, ""), 7.0) for task_id in "abc"
)


SEAL = Seal("the key")


def encode(kept: Kept, seal: Seal = SEAL) -> bytes:
    return record.encode(kept, seal)


def decode(data: bytes, seal: Seal = SEAL) -> Contents:
    return record.decode(data.splitlines(keepends=True), seal)


@given(many)
def test_what_was_written_is_read(kept: list[Kept]) -> None:
    assert decode(b"".join(map(encode, kept))) == Contents(tuple(kept))


@settings(max_examples=20)  # each of them is tried at every byte
@given(many)
def test_a_writer_killed_at_any_byte_costs_only_the_line_it_was_at(kept: list[Kept]) -> None:
    lines = [encode(one) for one in kept]
    data = b"".join(lines)
    for length in range(len(data) + 1):
        whole, end = 0, 0
        while whole < len(lines) and end + len(lines[whole]) <= length:
            end += len(lines[whole])
            whole += 1
        assert decode(data[:length]) == Contents(tuple(kept[:whole]), torn_bytes=length - end)


def test_a_flipped_bit_anywhere_costs_only_its_own_line() -> None:
    lines = [encode(one) for one in (ONE, TWO, THREE)]
    for at in range(len(lines[1]) - 1):
        damaged = bytearray(lines[1])
        damaged[at] ^= 0x04
        found = decode(lines[0] + damaged + lines[2])
        assert found.kept == (ONE, THREE)
        # One in the key's id makes it look like the line of a worker with another API key: kept as it is.
        assert (found.damaged, found.other_key) in ({(1, 0), (0, 1)} if at < 8 else {(1, 0)})


def test_outcomes_taken_back_are_gone_and_a_later_one_of_the_same_attempt_counts() -> None:
    data = encode(ONE) + encode(TWO) + record.encode_done([ONE.settlement.lease], SEAL)
    assert decode(data).kept == (TWO,)
    assert decode(data + encode(ONE)).kept == (TWO, ONE)


def test_what_another_api_key_sealed_is_neither_believed_nor_damaged() -> None:
    data = encode(ONE) + encode(TWO, Seal("another key"))
    assert decode(data) == Contents((ONE,), other_key=1)


def test_what_the_previous_api_key_sealed_is_read_and_new_lines_have_the_present_one() -> None:
    both = Seal("another key", previous="the key")
    assert decode(encode(ONE), both).kept == (ONE,)
    assert decode(encode(ONE, both)).other_key == 1


@pytest.mark.parametrize(
    "forge",
    [
        lambda line, text: line[:9] + b"0" * 64 + b" " + text,
        lambda line, text: line[:73] + b" " + text.replace(b"q.a", b"q.b"),
        lambda _line, text: text,
        lambda line, text: line[:8] + b"_" + line[9:73] + b"_" + text,
        lambda line, text: line[:9] + line[9:73].upper() + b" " + text,
    ],
    ids=["another MAC", "another text", "no seal", "no blanks", "another notation"],
)
def test_a_forged_line_is_damaged(forge: Callable[[bytes, bytes], bytes]) -> None:
    line = encode(ONE).rstrip(b"\n")
    forged = forge(line, line[74:]) + b"\n"
    assert decode(forged + encode(TWO)) == Contents((TWO,), 1, (decode(forged).reasons))
    assert decode(forged).reasons == ("line 1: it is damaged, or no worker has written it",)


BODY = json.loads(encode(ONE)[74:])
WRONG: dict[str, tuple[Any, str]] = {
    "no object": ([1], "it is not an object"),
    "nothing": ({}, "it has no kind"),
    "unknown kind": (BODY | {"kind": "Explode"}, "it.kind is not one of Complete"),
    "kind is no text": (BODY | {"kind": []}, "it.kind is not one of Complete"),
    "more": (BODY | {"more": 1}, "it has more than kind"),
    "since is a text": (BODY | {"since": "x"}, "it.since is not a finite number"),
    "since is NaN": (BODY | {"since": float("nan")}, "it.since is not a finite number"),
    "since is true": (BODY | {"since": True}, "it.since is not a finite number"),
    "since has 400 digits": (BODY | {"since": 10**400}, "it.since is not a finite number"),
    "short lease": (BODY | {"lease": ["q", "a"]}, "it.lease is not a list of four texts"),
    "numbers in the lease": (BODY | {"lease": ["q", "a", 1, 1]}, "it.lease is not a list of four texts"),
    "fields missing": (BODY | {"fields": {}}, "it.fields has no result"),
    "no base64": (BODY | {"fields": BODY["fields"] | {"result": "é"}}, "it.fields.result is not base64"),
    "ttl": (BODY | {"fields": BODY["fields"] | {"ttl_s": None}}, "it.fields.ttl_s is not a finite number"),
    "done of nothing": ({"done": 1}, "it.done is not a list"),
    "done of wrong leases": ({"done": [["a"]]}, "it.done[0] is not a list of four texts"),
}


@pytest.mark.parametrize("body", WRONG)
def test_what_is_sealed_well_and_of_another_shape_is_named(body: str) -> None:
    value, problem = WRONG[body]
    found = decode(SEAL.close(json.dumps(value).encode()) + encode(TWO))
    assert found.kept == (TWO,)
    assert found.reasons[0].startswith(f"line 1: {problem}")


def test_deep_nesting_and_bad_utf8_cost_their_lines() -> None:
    texts = [b"[" * 500_000, b'{"a":' * 500_000, b'{"kind": "\xff\xfe"}']
    found = decode(b"".join(map(SEAL.close, texts)) + encode(TWO))
    assert (found.kept, found.damaged) == ((TWO,), 3)


def test_of_many_damaged_lines_the_first_are_told() -> None:
    found = decode(b"junk\n" * 1_000)
    assert (found.damaged, len(found.reasons)) == (1_000, record.MOST_REASONS)
