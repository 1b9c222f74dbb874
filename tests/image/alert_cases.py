"""What scrapes bring in the cases that the alert rules are for, and in those that only look like them.

A case says what an hour or so of scraping every 15 s brought, and which alerts fire at its end: these and no
others. A worker that ends takes its series along, which is written down as Prometheus does it: a mark that
they are stale, then nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Samples a minute.
MINUTE = 4


def same(value: float, samples: int) -> str:
    """So many samples of one value."""
    return " ".join([f"{value:g}"] * samples)


def steps(*values: float, every: int = MINUTE) -> str:
    """Each value for so many samples."""
    return " ".join(same(value, every) for value in values)


def gone(samples: int) -> str:
    """So many scrapes without an answer, after some with."""
    return " ".join(["stale", *(["_"] * (samples - 1))])


Series = Mapping[str, str]


def up(values: str, instance: str = "a") -> Series:
    """Whether an instance was scraped."""
    return {f'up{{job="runqy-worker",instance="{instance}"}}': values}


def worker(instance: str = "a", labels: str = "", **metrics: str) -> Series:
    """Metrics of one worker, without the ``runqy_worker_`` in front."""
    more = f",{labels}" if labels else ""
    named = f'{{job="runqy-worker",instance="{instance}"{more}}}'
    return {f"runqy_worker_{name}{named}": values for name, values in metrics.items()}


def parent(instance: str = "a", **metrics: str) -> Series:
    """The same of its parent queue."""
    return worker(instance, 'parent="inference"', **metrics)


def well(minutes: int, instance: str = "b") -> Series:
    """A worker that works."""
    ones, zeros = same(1, minutes * MINUTE), same(0, minutes * MINUTE)
    return {
        **up(ones, instance),
        **worker(instance, ready=ones, live=ones, start_time_seconds=same(500, minutes * MINUTE)),
        **parent(instance, redis_up=ones, repository_up=ones, consecutive_failures=zeros),
        **parent(instance, leases_lost_total=zeros, unsettled_oldest_seconds=zeros),
        **worker(instance, 'parent="inference",state="degraded"', recovery_state=zeros),
        **tasks(completed=zeros, archived=zeros, instance=instance),
        **failures(crashed=zeros, instance=instance),
        **queue(zeros, instance=instance),
    }


def tasks(*, instance: str = "a", **outcomes: str) -> Series:
    """Tasks by their outcomes."""
    return {
        name: values
        for outcome, counts in outcomes.items()
        for name, values in worker(
            instance, f'queue="inference.high",outcome="{outcome}"', tasks_total=counts
        ).items()
    }


def failures(*, instance: str = "a", **reasons: str) -> Series:
    """Runs that went wrong by their reasons."""
    return {
        name: values
        for reason, counts in reasons.items()
        for name, values in worker(
            instance, f'queue="inference.high",reason="{reason}"', task_failures_total=counts
        ).items()
    }


def queue(oldest_s: str, paused: str = "", instance: str = "a") -> Series:
    """What a worker says of a queue."""
    named = f'{{job="runqy-worker",instance="{instance}",queue="inference.high"}}'
    paused = paused or re.sub(r"[\d.]+", "0", oldest_s)
    return {f"runqy_queue_oldest_pending_seconds{named}": oldest_s, f"runqy_queue_paused{named}": paused}


def crash_loop(times: int, pause: int, seen: Sequence[str] = ("1 3", "3 5")) -> Series:
    """A worker whose process cannot start, which ends after half a minute and is started again after a pause.

    ``seen`` are the consecutive failures that a run's two scrapes see, one run after the other.
    """

    def cycles(*runs: str) -> str:
        return " ".join(f"{runs[number % len(runs)]} {gone(pause)}" for number in range(times))

    return {
        **up(" ".join([f"1 1 {same(0, pause)}"] * times)),
        **worker(
            ready=cycles("0 0"), start_time_seconds=cycles(*(f"{n}e3 {n}e3" for n in range(1, times + 1)))
        ),
        **parent(consecutive_failures=cycles(*seen), redis_up=cycles("1 1"), repository_up=cycles("1 1")),
        **worker("a", 'parent="inference",state="degraded"', recovery_state=cycles("0 0")),
    }


def replaced(times: int, ready: str) -> Series:
    """Workers that come one after the other, each at an address of its own, and go after four scrapes."""
    found: dict[str, str] = {}
    for number in range(times):
        before = " ".join(["_"] * (4 * number)) + " "
        name, left = f"s{number}", gone(4 * (times - number) + 8 * MINUTE)
        found |= {
            **up(f"{before} {same(1, 4)} {left}", name),
            **worker(
                name,
                ready=f"{before} {ready} {left}",
                start_time_seconds=f"{before} {same(number + 1, 4)} {left}",
            ),
        }
    return found


@dataclass(frozen=True)
class Case:
    """``fires``: what does at the end; ``twin_of``: what would be expected to by somebody careless."""

    name: str
    minutes: int
    series: Sequence[Series]
    fires: frozenset[str] = frozenset()
    twin_of: frozenset[str] = frozenset()


def fires(name: str, minutes: int, alerts: str, *series: Series) -> Case:
    return Case(name, minutes, series, fires=frozenset(alerts.split()))


def silent(name: str, minutes: int, twin_of: str, *series: Series) -> Case:
    return Case(name, minutes, series, twin_of=frozenset(twin_of.split()))


#: A kubelet waits five minutes between two starts in the end.
KUBELET = 5 * MINUTE

CASES = [
    silent("all is well", 60, "", well(60), well(60, "c")),
    # No worker at work.
    fires("no worker is left in the service discovery", 6, "RunqyNoWorker"),
    fires("nothing answers", 16, "RunqyNoWorker RunqyWorkerDown", up(f"{steps(1)} {same(0, 15 * MINUTE)}")),
    silent(
        "all were restarted at a time",
        30,
        "RunqyNoWorker RunqyWorkerDown",
        up(f"{same(1, 10 * MINUTE)} {steps(0, 0)} {same(1, 18 * MINUTE)}"),
    ),
    fires(
        "the only worker waits for its server",
        12,
        "RunqyNoWorkerReady",
        up(same(1, 12 * MINUTE)),
        worker(ready=same(0, 12 * MINUTE)),
    ),
    silent(
        "a first start installs for eight minutes",
        30,
        "RunqyNoWorkerReady RunqyWorkerNotReady",
        up(same(1, 30 * MINUTE)),
        worker(ready=f"{same(0, 8 * MINUTE)} {same(1, 22 * MINUTE)}"),
    ),
    fires(
        "one of two is not ready",
        20,
        "RunqyWorkerNotReady",
        well(20),
        up(same(1, 20 * MINUTE)),
        worker(ready=f"{steps(1, 1)} {same(0, 18 * MINUTE)}"),
    ),
    fires(
        "a loop stands still",
        5,
        "RunqyWorkerStuck",
        well(5),
        worker(live=f"{steps(1)} {same(0, 4 * MINUTE)}"),
    ),
    silent("a loop is late for a minute", 9, "RunqyWorkerStuck", worker(live=steps(1, 1, 0, 1, 1)), well(9)),
    # Crash loops.
    fires(
        "a crash loop with a kubelet's delay between starts",
        44,
        "RunqyCrashLoop RunqyWorkerKeepsEnding RunqyWorkerDown RunqyWorkerNotReady",
        well(44),
        crash_loop(8, KUBELET),
    ),
    fires(
        "a crash loop with a kubelet's delay of which every other run was seen too early",
        44,
        "RunqyCrashLoop RunqyWorkerKeepsEnding RunqyWorkerDown RunqyWorkerNotReady",
        well(44),
        crash_loop(8, KUBELET, ("0 1", "1 3")),
    ),
    fires(
        "a crash loop of the only worker",
        40,
        "RunqyCrashLoop RunqyWorkerKeepsEnding RunqyWorkerDown RunqyWorkerNotReady RunqyNoWorkerReady",
        crash_loop(8, KUBELET - 2),
    ),
    fires(
        "a worker that ends before its process is started, at another address each time",
        8,
        "RunqyWorkerKeepsEnding",
        well(8),
        replaced(4, "0 0 0 0"),
    ),
    silent(
        "a release replaces each worker once", 8, "RunqyWorkerKeepsEnding", well(8), replaced(4, "0 1 1 1")
    ),
    silent(
        "a worker was restarted twice",
        30,
        "RunqyWorkerKeepsEnding",
        well(30),
        worker(start_time_seconds=f"{same(1, 40)} {same(2, 40)} {same(3, 40)}"),
    ),
    silent(
        "a process crashed twice and works again",
        30,
        "RunqyCrashLoop RunqyWorkerDegraded",
        well(30),
        parent(consecutive_failures=f"{steps(0, 1, 2, 2, 2, 2, 2, 2, 2, 2)} {same(0, 20 * MINUTE)}"),
    ),
    fires(
        "a degraded worker stays",
        18,
        "RunqyWorkerDegraded RunqyCrashLoop RunqyWorkerNotReady",
        well(18),
        worker(ready=same(0, 18 * MINUTE)),
        parent(consecutive_failures=same(6, 18 * MINUTE)),
        worker("a", 'parent="inference",state="degraded"', recovery_state=same(1, 18 * MINUTE)),
    ),
    # Redis.
    fires(
        "one does not reach Redis", 5, "RunqyRedisUnreachable", well(5), parent(redis_up=steps(1, 0, 0, 0, 0))
    ),
    fires(
        "Redis comes and goes",
        10,
        "RunqyRedisUnreachable",
        well(10),
        parent(redis_up=" ".join(["1 0 0"] * 13 + ["0"])),
    ),
    silent(
        "Redis fails over",
        10,
        "RunqyRedisUnreachable",
        well(10),
        parent(redis_up=f"{steps(1, 1)} 0 0 {steps(1, 1)}"),
    ),
    fires(
        "a full Redis takes no results",
        9,
        "RunqyOutcomesUnsettled",
        well(9),
        parent(
            redis_up=same(1, 36), unsettled_oldest_seconds=steps(0, 60, 120, 180, 240, 300, 360, 420, 480)
        ),
    ),
    fires(
        "results wait for a Redis that is away: that is said, not this",
        9,
        "RunqyRedisUnreachable",
        well(9),
        parent(
            redis_up=same(0, 36), unsettled_oldest_seconds=steps(0, 60, 120, 180, 240, 300, 360, 420, 480)
        ),
    ),
    silent(
        "results waited for a minute",
        9,
        "RunqyOutcomesUnsettled",
        well(9),
        parent(redis_up=same(1, 36), unsettled_oldest_seconds=steps(0, 30, 60, 90, 0, 0, 0, 0, 0)),
    ),
    fires(
        "a first lease is lost", 9, "RunqyLeasesLost", well(9), parent(leases_lost_total=steps(0, 0, 1, 1, 1))
    ),
    silent(
        "leases were lost long ago",
        40,
        "RunqyLeasesLost",
        well(40),
        parent(leases_lost_total=same(7, 40 * MINUTE)),
    ),
    # The log.
    fires(
        "the log's reader stalls",
        9,
        "RunqyLogLinesLost",
        well(9),
        worker(log_lines_lost_total=steps(0, 0, 40)),
    ),
    silent(
        "lines of the log were lost long ago",
        40,
        "RunqyLogLinesLost",
        well(40),
        worker(log_lines_lost_total=same(40, 40 * MINUTE)),
    ),
    # Code.
    fires(
        "the newest code cannot be had", 18, "RunqyCodeOutdated", well(18), parent(repository_up=same(0, 72))
    ),
    fires(
        "a redeployment was refused",
        18,
        "RunqyCodeOutdated",
        well(18),
        parent(repository_up=same(1, 72), redeploy_refused=f"{steps(0, 0)} {same(1, 64)}"),
    ),
    silent(
        "a redeployment was refused, and the next one was not",
        18,
        "RunqyCodeOutdated",
        well(18),
        parent(repository_up=same(1, 72), redeploy_refused=f"{steps(0, 0)} {same(1, 32)} {same(0, 32)}"),
    ),
    silent(
        "the repository was away during one start",
        18,
        "RunqyCodeOutdated",
        well(18),
        parent(repository_up=f"{same(0, 5 * MINUTE)} {same(1, 13 * MINUTE)}"),
    ),
    # Queues.
    fires("the next task waits", 16, "RunqyBacklog", well(16), queue(steps(*range(0, 16 * 60, 60)))),
    fires(
        "a task waits and all workers are in a crash loop, which say it for half a minute in five",
        11,
        "RunqyBacklog RunqyWorkerDown",
        queue(f"0 15 {gone(20)} 630 645 {gone(19)}"),
        up(f"1 1 {same(0, 20)} 1 1 {same(0, 19)}"),
    ),
    silent(
        "a task waits for nine minutes",
        20,
        "RunqyBacklog",
        well(20),
        queue(f"{steps(*range(0, 600, 60))} {same(0, 40)}"),
    ),
    silent(
        "tasks wait in a queue that is paused",
        30,
        "RunqyBacklog RunqyQueuePaused",
        well(30),
        queue(steps(*range(0, 1800, 60)), same(1, 120)),
    ),
    fires("a queue is forgotten", 62, "RunqyQueuePaused", well(62), queue(same(0, 248), same(1, 248))),
    fires(
        "the first task fails for good",
        5,
        "RunqyTasksArchived",
        tasks(completed=steps(0, 0, 1, 1, 1), archived=steps(0, 0, 0, 1, 1)),
        up(same(1, 20)),
    ),
    silent(
        "one task of a hundred fails for good",
        10,
        "RunqyTasksArchived",
        tasks(completed=steps(*range(0, 100, 10)), archived=steps(0, 0, 0, 0, 0, 1, 1, 1, 1, 1)),
        up(same(1, 40)),
    ),
    fires(
        "tasks end their process",
        10,
        "RunqyTasksCrash",
        well(10),
        failures(crashed=steps(0, 1, 2, 2, 3, 4, 4, 5, 5, 5)),
    ),
    silent(
        "a task ended its process until its retries were spent",
        10,
        "RunqyTasksCrash",
        well(10),
        failures(crashed=steps(0, 0, 0, 1, 1, 2, 2, 2, 2, 2)),
    ),
]
