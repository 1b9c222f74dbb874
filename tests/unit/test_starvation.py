"""Since when a process was starved, by an account that is given."""

from harness.evidence.history import Trouble
from harness.evidence.starvation import Starvation


class Kernel:
    """Says how long a process has waited so far; ``now_s`` is its clock."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.waited_s = 7.0

    def __call__(self, pid: int) -> float:
        assert pid == 11
        return self.waited_s


def watched(kernel: Kernel) -> Starvation:
    starvation = Starvation(2.0, clock=lambda: kernel.now_s, account=kernel)
    starvation.watch({"w1": 11})
    starvation.look()
    return starvation


def passes(starvation: Starvation, kernel: Kernel, *steps: tuple[float, float]) -> list[Trouble]:
    """Each step: seconds that pass, and how many of them it waited."""
    for passed_s, waited_s in steps:
        kernel.now_s += passed_s
        kernel.waited_s += waited_s
        starvation.look()
    return starvation.troubles


def test_what_it_waited_before_we_looked_and_now_and_then_counts_for_nothing() -> None:
    kernel = Kernel()
    assert passes(watched(kernel), kernel, *[(0.5, 0.2)] * 20) == []


def test_half_of_the_window_in_many_pieces_is_starvation() -> None:
    kernel = Kernel()
    (trouble,) = passes(watched(kernel), kernel, *[(0.5, 0.0)] * 4, *[(0.5, 0.3)] * 4, *[(0.5, 0.0)] * 4)
    assert (trouble.kind, trouble.target) == ("starved", "w1")
    assert (trouble.began_s, trouble.ended_s) == (102.0, 104.0)


def test_a_look_that_is_late_makes_no_starvation_of_a_fifth() -> None:
    kernel = Kernel()
    assert passes(watched(kernel), kernel, *[(0.5, 0.1)] * 8, (6.0, 1.2), *[(0.5, 0.1)] * 8) == []


def test_one_long_wait_is_known_when_it_is_over_and_lasted_from_its_beginning() -> None:
    kernel = Kernel()
    (trouble,) = passes(watched(kernel), kernel, *[(0.5, 0.0)] * 8, (0.5, 4.0))
    assert (trouble.began_s, trouble.ended_s) == (100.5, 104.5)
