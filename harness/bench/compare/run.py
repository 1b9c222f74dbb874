"""``runqy-harness bench``: the order of the measurements, told while it goes on."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from harness.bench.compare import depth, distance, report
from harness.bench.compare.plan import Plan
from harness.bench.rig import crowd, machine, measure, page, pipe
from harness.bench.rig.contestant import Contestant
from harness.bench.rig.figures import OURS, PIPE, Figures
from harness.bench.rig.observer import Observer
from harness.bench.rig.ours import Ours
from harness.bench.rig.peers import PEERS, PeerContestant, environment_of
from harness.bench.rig.room import room
from harness.failure import CommandFailed
from harness.output.narrator import Narrator
from harness.sandbox.redis import RedisServer
from harness.sandbox.stack import WORKER_COMMAND
from harness.wait import TimedOut


@dataclass(frozen=True)
class ComparisonOptions:
    """What to measure. ``environments`` holds a virtual environment for each peer, by its name.

    ``peers`` are names; one that is not installed makes the run fail at its beginning.
    """

    plan: Plan
    environments: Path
    peers: Sequence[str]
    command: str
    worker_command: Sequence[str] = WORKER_COMMAND


class Bench:
    """One run: its contestants, what it measured so far, and what it could not measure."""

    def __init__(
        self, options: ComparisonOptions, narrator: Narrator, server: RedisServer, folder: Path
    ) -> None:
        self.figures = Figures()
        self.failures: list[str] = []
        self._plan = options.plan
        self._narrator = narrator
        self._folder = folder
        self._server = server
        self._command = options.worker_command
        self._db = server.client()
        self._observer = Observer(self._db, server)
        self._ours = Ours(server, folder / "ours", options.worker_command)
        chosen = [peer for peer in PEERS if peer.name in options.peers]
        found = {peer.name: environment_of(peer, options.environments) for peer in chosen}
        missing = [name for name, environment in found.items() if environment is None]
        if missing:
            raise CommandFailed(f"not installed: {', '.join(missing)}; `make bench` installs them")
        self.environments = {name: environment for name, environment in found.items() if environment}
        self._peers = [
            PeerContestant(peer, self.environments[peer.name], server, folder / "peers") for peer in chosen
        ]

    @property
    def contestants(self) -> list[Contestant]:
        """Ours first."""
        return [self._ours, *self._peers]

    def run(self) -> None:
        """Measure everything; what fails is told and left out."""
        with self._ours:
            self._measure_pipe()
            for repetition in range(self._plan.repetitions):
                self._narrator.chapter(f"Throughput, {repetition + 1} of {self._plan.repetitions}")
                for contestant in self.contestants:
                    for concurrency in contestant.concurrencies:
                        self._try(
                            f"{contestant.name} at {concurrency}", self._throughput, contestant, concurrency
                        )
            self._narrator.chapter("Start latency, and an idle worker")
            for contestant in self.contestants:
                self._try(f"latency of {contestant.name}", self._standing, contestant)
            self._narrator.chapter("Memory")
            for contestant in self.contestants:
                self._try(f"memory of {contestant.name}", self._memory, contestant)
            self._narrator.chapter("The task process at work")
            for round_trip_ms in self._plan.round_trips_ms:
                for length_ms in self._plan.lengths_ms:
                    what = f"tasks of {length_ms} ms, {round_trip_ms} ms from Redis"
                    self._try(what, self._utilisation, length_ms, round_trip_ms)
            self._narrator.chapter("Few and many pending tasks")
            self._try("pending tasks", self._depth)
            if self._plan.crowd:
                self._narrator.chapter(f"One task, {self._plan.crowd} idle workers")
                self._try("the crowd", self._crowd)

    def _measure_pipe(self) -> None:
        self._narrator.chapter("The task process alone")
        for in_flight in (1, 50):
            for _ in range(self._plan.repetitions):
                value = pipe.tasks_per_s(in_flight, self._plan.pipe_requests, self._folder)
                self.figures.add(PIPE, "tasks/s", value, at=in_flight)
            rate = self.figures.median(PIPE, "tasks/s", in_flight)
            self._narrator.proved(f"{in_flight} in flight: {rate:,.0f} tasks/s")

    def _throughput(self, contestant: Contestant, concurrency: int) -> str:
        sizes = self._plan.ours if contestant.name == OURS else self._plan.peers
        window = measure.throughput(self._observer, contestant, concurrency, sizes[concurrency])
        add = self.figures.add
        add(contestant.name, "tasks/s", window.tasks_per_s, at=concurrency)
        add(contestant.name, "commands/task", window.commands_per_task, at=concurrency)
        add(contestant.name, "round trips/task", window.requests_per_task, at=concurrency)
        return f"{window.tasks_per_s:,.0f} tasks/s, {window.requests_per_task:.2f} round trips each"

    def _standing(self, contestant: Contestant) -> str:
        latencies, idle = measure.latency_and_idle(
            self._observer, contestant, self._plan.latencies, self._plan.idle_s
        )
        percentiles = measure.latency_percentiles_ms(latencies)
        for percent, value in percentiles.items():
            self.figures.add(contestant.name, f"start p{percent}, ms", value)
        self.figures.add(contestant.name, "idle commands/s", idle.sent_per_s)
        self.figures.add(contestant.name, "with scripts'", idle.commands_per_s)
        self.figures.add(contestant.name, "idle CPU, %", idle.cpu_percent)
        told = ", ".join(f"p{percent} {value:.2f} ms" for percent, value in percentiles.items())
        return f"{told}; idle {idle.sent_per_s:.1f} commands/s, {idle.cpu_percent:.1f} % CPU"

    def _memory(self, contestant: Contestant) -> str:
        count = self._plan.memory_of_ours if contestant.name == OURS else self._plan.memory_of_peers
        found = measure.memory(self._observer, contestant, count)
        self.figures.add(contestant.name, "after tasks", count)
        self.figures.add(contestant.name, "RSS, MB", found.rss_mb)
        self.figures.add(contestant.name, "PSS, MB", found.pss_mb)
        self.figures.add(contestant.name, "RSS growth, MB", found.rss_growth_mb)
        self.figures.add(contestant.name, "PSS growth, MB", found.pss_growth_mb)
        grew = f"{found.rss_growth_mb:+.2f} MB in the second half"
        return f"RSS {found.rss_mb:.1f} MB after {count:,} tasks, {grew}"

    def _depth(self) -> str:
        few, many = self._plan.pending
        # Few before and after many: what the machine does meanwhile should not count for one of them.
        half = (self._plan.pending_bursts + 1) // 2
        told = {}
        for name, pending, bursts in (("few", few, half), ("many", many, 2 * half), ("few", few, half)):
            walls, cpus = depth.costs_us(
                self._observer, self._ours, pending, bursts, self._plan.pending_burst
            )
            self.figures.add(OURS, f"µs/task, {name} pending", *walls)
            self.figures.add(OURS, f"CPU µs/task, {name} pending", *cpus)
            told[name] = self.figures.median(OURS, f"µs/task, {name} pending")
        return f"{told['few']:.1f} µs with {few:,}, {told['many']:.1f} µs with {many:,}"

    def _utilisation(self, length_ms: int, round_trip_ms: int) -> str:
        share = distance.utilisation(
            self._observer,
            self._server,
            self._db,
            self._folder / f"at {round_trip_ms} of {length_ms}",
            self._command,
            length_s=length_ms / 1000,
            round_trip_s=round_trip_ms / 1000,
            count=distance.LEARNING + max(2, int(1000 * self._plan.utilisation_s / length_ms)),
        )
        self.figures.add(OURS, report.utilisation(round_trip_ms), share, at=length_ms)
        return f"at work for {share:.3f} of the time"

    def _crowd(self) -> str:
        caused = crowd.commands_per_task(self._observer, self._ours, self._db, self._plan.crowd)
        self.figures.add(OURS, "commands in a crowd", caused)
        return f"{caused:.1f} commands"

    def _try(self, what: str, measuring: Callable[..., str], *arguments: object) -> None:
        self._narrator.waiting(what)
        try:
            self._narrator.proved(f"{what}: {measuring(*arguments)}")
        except (TimedOut, CommandFailed, ValueError) as exc:
            # The others' figures are worth having all the same; the exit status tells.
            self.failures.append(f"{what}: {str(exc).splitlines()[0]}")
            self._narrator.detail(f"✗ {what}: {exc}")


def run(out: TextIO, options: ComparisonOptions, json_to: Path | None, write_to: Path | None) -> int:
    """Measure, print the tables, and write them where asked; 1 where something could not be measured.

    Raises :class:`~harness.failure.CommandFailed` where nothing can be.
    """
    began_s = time.monotonic()
    narrator = Narrator(out)
    narrator.title("runqy-harness bench: our worker and those a user would pick instead")
    with room() as place:
        bench = Bench(options, narrator, place.server, place.folder)
        bench.run()
        result = report.Run(
            date=datetime.now(UTC).date().isoformat(),
            command=options.command,
            plan=options.plan,
            figures=bench.figures,
            peers=[name for name in options.peers if name in bench.environments],
            hows={contestant.name: contestant.how for contestant in bench.contestants},
            versions=machine.versions(bench.environments),
            machine=place.machine,
            failures=bench.failures,
            took_s=time.monotonic() - began_s,
        )
    out.write(f"\n{report.tables(result)}\n")
    if json_to is not None:
        json_to.write_text(json.dumps(_as_json(result), indent=1, ensure_ascii=False) + "\n")
    if write_to is not None:
        page.rewrite(write_to, report.markdown(result))
    return 1 if bench.failures else 0


def _as_json(result: report.Run) -> dict[str, object]:
    return {
        "date": result.date,
        "command": result.command,
        "plan": asdict(result.plan),
        "machine": dict(result.machine),
        "versions": dict(result.versions),
        "failures": list(result.failures),
        "took_s": result.took_s,
        "figures": result.figures.as_json(),
    }
