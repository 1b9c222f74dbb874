"""What counts as the machine's trouble: a Redis that did nothing, where nothing was done to it."""

from harness.chaos.gather import of_the_machine
from harness.evidence.history import Rules, Trouble
from harness.evidence.ledger import Ledger

RULES = Rules(lease_s=2.0, drain_s=15.0)


def pauses(*commands: tuple[bytes, ...]) -> list[tuple[float, float]]:
    ledger = Ledger()
    for command in commands:
        ledger.apply([command])
    return ledger.pauses


def note(at_s: float) -> tuple[bytes, ...]:
    return b"SET", b"harness:clock", str(at_s).encode()


BEAT = (b"HSET", b"asynq:workers:{w1}", b"status", b"running")


def test_redis_did_nothing_where_no_time_is_noted_and_next_to_nothing_else() -> None:
    assert pauses(note(100.0), note(100.02), BEAT, BEAT, note(101.5)) == [(100.02, 101.5)]
    assert pauses(note(100.0), note(100.02), *[BEAT] * 200, note(101.5)) == []
    assert pauses(note(100.0), note(100.3)) == []


def test_only_a_pause_that_costs_leases_and_was_not_injected_is_the_machines() -> None:
    stop = Trouble("stands still", "redis", 100.0, 101.3)
    elsewhere = Trouble("worker stopped", "w1", 100.0, 101.3)
    assert of_the_machine([(100.1, 101.4)], RULES, []) == [Trouble("stood still", "redis", 100.1, 101.4)]
    assert of_the_machine([(100.1, 101.4)], RULES, [elsewhere]) != []
    assert of_the_machine([(100.1, 101.4)], RULES, [stop]) == []
    assert of_the_machine([(100.1, 100.9)], RULES, []) == []
    # What is left of a long one counts.
    (rest,) = of_the_machine([(99.9, 110.0)], RULES, [stop, Trouble("starved", "redis", 101.0, 109.0)])
    assert (rest.began_s, rest.ended_s) == (101.8, 110.0)
