"""``runqy-harness chaos``: a run from its seed to its verdict."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from harness.chaos import plan, run, tell
from harness.failure import CommandFailed
from harness.redis import RedisUnavailable
from harness.repo import GitFailed
from harness.stack import WORKER_COMMAND


@dataclass(frozen=True)
class Wish:
    """What was asked for; ``again`` is the command line that asks for it again.

    ``command`` None is this project's worker. ``calm`` leaves the faults out.
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


def execute(wish: Wish, out: TextIO) -> int:
    """Run it; returns 0 where every invariant holds, 1 after saying which does not.

    Raises :class:`~harness.failure.CommandFailed` where it cannot be run.
    """
    chosen = plan.make(wish.seed, wish.duration_s, wish.workers)
    if wish.calm:
        chosen = replace(chosen, faults=(), skews_s=(0.0,) * wish.workers)
    print(
        f"chaos, seed {wish.seed}: {len(chosen.tasks)} tasks and {len(chosen.faults)} faults "
        f"in {wish.duration_s:g} s, {wish.workers} workers",
        file=out,
        flush=True,
    )
    progress = tell.Progress(out)
    with tempfile.TemporaryDirectory(prefix="runqy-chaos-") as folder:
        try:
            outcome = run.run(
                run.Order(chosen, Path(folder), wish.command or WORKER_COMMAND, progress=progress)
            )
        except (RedisUnavailable, GitFailed, FileNotFoundError) as exc:
            raise CommandFailed(str(exc)) from exc
        finally:
            progress.end()
        if wish.report is not None:
            for line in tell.write_report(outcome, wish.again, wish.report):
                print(f"  {line}", file=out)
        if wish.json is not None:
            tell.write_json(outcome, wish.again, wish.json)
        tell.say(outcome, wish.again, out)
    return 1 if outcome.violations else 0
