"""``runqy-harness chaos``: a run from its seed to what holds."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from harness.chaos import plan, run, tell
from harness.chaos.world import RunOptions
from harness.failure import CommandFailed
from harness.sandbox.redis import RedisUnavailable
from harness.sandbox.repo import GitFailed
from harness.sandbox.stack import WORKER_COMMAND


@dataclass(frozen=True)
class ChaosOptions:
    """What was asked for; ``again`` is the command line that asks for it again.

    ``command`` None is this project's worker. ``calm`` leaves the faults out.
    ``round_trip_s`` is how far Redis is from every worker all the time.
    ``report`` and ``json`` are where evidence goes, None: nowhere.
    """

    seed: int
    duration_s: float
    workers: int
    calm: bool
    again: str
    command: Sequence[str] | None = None
    report: Path | None = None
    json: Path | None = None
    round_trip_s: float = 0.0


def execute(options: ChaosOptions, out: TextIO) -> int:
    """Run it; returns 0 where every invariant holds, 1 after saying which does not.

    Raises :class:`~harness.failure.CommandFailed` where it cannot be run.
    """
    chosen = plan.make(options.seed, options.duration_s, options.workers)
    if options.calm:
        chosen = replace(chosen, faults=(), skews_s=(0.0,) * options.workers)
    print(
        f"chaos, seed {options.seed}: {len(chosen.tasks)} tasks and {len(chosen.faults)} faults "
        f"in {options.duration_s:g} s, {options.workers} workers",
        file=out,
        flush=True,
    )
    progress = tell.Progress(out)
    with tempfile.TemporaryDirectory(prefix="runqy-chaos-") as folder:
        try:
            outcome = run.run(
                RunOptions(
                    chosen,
                    Path(folder),
                    options.command or WORKER_COMMAND,
                    round_trip_s=options.round_trip_s,
                    progress=progress,
                )
            )
        except (RedisUnavailable, GitFailed, FileNotFoundError) as exc:
            raise CommandFailed(str(exc)) from exc
        finally:
            progress.end()
        if options.report is not None:
            for line in tell.write_report(outcome, options.again, options.report):
                print(f"  {line}", file=out)
        if options.json is not None:
            tell.write_json(outcome, options.again, options.json)
        tell.say(outcome, options.again, out)
    return 1 if outcome.violations else 0
