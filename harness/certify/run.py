"""``runqy-harness certify``: somebody's task code through what production has in store for it."""

import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from harness import local, wait
from harness.certify import catalogue, tell
from harness.certify.bench import Bench, Subject, WorkerEnded
from harness.certify.finding import Finding, Judged, Verdict, failed, skipped
from harness.failure import CommandFailed, Interrupted
from harness.redis import RedisUnavailable
from harness.repo import GitFailed, GitRepo, empty_repo
from harness.runtimes.docker import IMAGE, DockerRuntime
from harness.runtimes.process import ProcessRuntime
from harness.runtimes.protocol import CannotRun, Runtime
from harness.sampler import Sampler
from harness.server.config import QueueConfig
from harness.source import Folder, Handler, Remote, Snapshot, Source, handler_repo
from harness.stack import WORKER_COMMAND, Stack
from harness.timeline import Timeline

NOT_CERTIFIED = 1
COULD_NOT_RUN = 3


@dataclass(frozen=True)
class Order:
    """What was asked for. ``source`` None: the code is in ``image``; ``only`` empty: every check."""

    source: Source | None
    branch: str | None
    queue: str
    settings: Mapping[str, Any] = field(repr=False)
    payloads: Sequence[Any]
    hanging: Any = None
    only: Sequence[str] = ()
    runtime: str = "process"
    image: str | None = None
    worker: Sequence[str] | None = None
    json: Path | None = None
    junit: Path | None = None
    report: Path | None = None


def run(out: TextIO, order: Order) -> int:
    """Judge and tell; returns 0 (certified), 1 (not), or 3 after saying why nothing could be judged."""
    local.go_round_proxies()
    try:
        if shutil.which("git") is None:
            raise CommandFailed("there is no git on PATH: task code is deployed with it")
        console = tell.Console(out, _what(order))
        with _runtime(order) as runtime, Stack(runtime=runtime) as stack:
            local.go_round_proxies(runtime.address)
            timeline = Timeline()
            with Sampler(timeline, stack.db, lambda: tuple(stack.workers), 2 * runtime.look_every_s):
                judged = _judged(order, stack, console, timeline)
            log = "\n".join(worker.log_text() for worker in stack.workers)
    except (CannotRun, CommandFailed, RedisUnavailable, GitFailed) as exc:
        print(f"runqy-harness certify: {exc}", file=sys.stderr)
        return COULD_NOT_RUN
    except Interrupted:
        print("runqy-harness certify: interrupted; what was started is gone", file=sys.stderr)
        raise
    certified = tell.certified(judged)
    console.closing(judged)
    if order.json:
        tell.write_json(order.json, judged)
    if order.junit:
        tell.write_junit(order.junit, judged)
    if order.report:
        for line in tell.write_report(order.report, judged, timeline.events, log):
            print(line, file=out)
    return 0 if certified else NOT_CERTIFIED


def _judged(order: Order, stack: Stack, console: tell.Console, timeline: Timeline) -> list[Judged]:
    bench = Bench(stack, _subject(order, stack))
    wanted = {*catalogue.FIRST, *(order.only or catalogue.OTHERS)}
    judged: list[Judged] = []
    stands = True
    for name, check in catalogue.ALL.items():
        if name not in wanted:
            continue
        did = (check.__doc__ or "").rstrip(".")
        console.begins(name, did)
        begun_s = time.monotonic()
        timeline.record("checks", "fault.began", fault=name, target="", id=len(judged))
        finding = _checked(check, bench) if stands else skipped("what comes before it failed")
        judged.append(Judged(name, did, finding, time.monotonic() - begun_s))
        timeline.record("checks", "fault.ended", fault=name, target="", id=len(judged) - 1)
        console.ended(judged[-1])
        stands = stands and not (name in catalogue.FIRST and finding.verdict is Verdict.FAIL)
    return judged


def _checked(check: catalogue.Check, bench: Bench) -> Finding:
    try:
        return check(bench)
    except WorkerEnded as exc:
        return failed(str(exc), "The worker's log, above, says why it ended.", "docs/operations.md")
    except wait.TimedOut as exc:
        seen = str(exc).partition("\n")[0]
        return failed(
            f"{seen}; the worker's log says last: {bench.last_words()}",
            "The task process neither answered nor ended: look for a lock, a prompt, or stdin that "
            "nobody reads.",
            "docs/task-process.md",
        )
    except (AssertionError, KeyError, OSError) as exc:
        # Not the author's fault, and no reason to hide what the other checks find.
        return failed(
            f"the check itself failed: {traceback.format_exc().strip()}", f"Please report this: {exc}"
        )


def _subject(order: Order, stack: Stack) -> Subject:
    repo, git_url, branch = _code(order, stack)
    settings = dict(order.settings)
    vault: Mapping[str, str] = settings["vaults"].get("local", {})
    queue = QueueConfig(name=order.queue, git_url=git_url, branch=branch, **settings)
    return Subject(
        queue,
        order.payloads or [{}],
        given=bool(order.payloads),
        hanging=order.hanging,
        names_in_code=_names_in(repo, vault) if repo and order.source else None,
    )


def _code(order: Order, stack: Stack) -> tuple[GitRepo | None, str, str]:
    """Our repository, where it is one, and the URL and branch to clone."""
    folder = stack.folder / "repositories" / "code.git"
    near = stack.runtime.name == "process"
    repo: GitRepo
    match order.source:
        case Remote(url):
            return None, url, order.branch or "main"
        case Folder(path):
            repo = Snapshot(path, folder).repo
        case Handler(name):
            # A file of ours is of no use in a container.
            repo = handler_repo(name, folder, stack.folder / "wheels" if near else None)
        case None:
            # A worker with code of its own never looks at it; the server has to name one nevertheless.
            repo = empty_repo(folder)
    return repo, stack.server.export(repo.folder), repo.branch


def _names_in(repo: GitRepo, names: Mapping[str, str]) -> frozenset[str]:
    def named(name: str) -> bool:
        grep = ["git", "grep", "--quiet", "--fixed-strings", "--word-regexp", "-e", name, repo.branch]
        trust = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
        return subprocess.run(grep, cwd=repo.folder, env={**os.environ, **trust}, check=False).returncode == 0

    return frozenset(name for name in names if named(name))


def _what(order: Order) -> str:
    match order.source:
        case Remote(url):
            # A URL may have credentials in it.
            return url.rpartition("@")[2]
        case Folder(path):
            return str(path)
        case Handler(name):
            return f"the example handler {name}"
        case None:
            return f"the image {order.image}"


@contextmanager
def _runtime(order: Order) -> Iterator[Runtime]:
    if order.runtime == "docker":
        with DockerRuntime(order.image or IMAGE) as containers:
            yield containers
        return
    # Where our own programs are: uv makes environments in a fraction of pip's time.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    yield ProcessRuntime(order.worker or WORKER_COMMAND, {"PATH": path})
