"""The command line of the harness.

A command line that makes no sense is told in one line, which names the option, the value and what
is allowed, with exit status 2. A command that fails says why in one sentence, with exit status 1.
"""

import argparse
import random
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import catalogue, local, values
from harness.failure import CommandFailed, Interrupted
from harness.parser import MISUNDERSTOOD, Parser, add_server
from harness.source import Handler, Source

_HELP = """usage: runqy-harness COMMAND [options]      (runqy-harness COMMAND --help says more)

  demo       see a worker do its job: server, Redis, tasks, results, a crash and its recovery
  serve      a local runqy server for the task code in a folder, until Ctrl-C
  enqueue    send tasks to it, or to any runqy server, and print ids or results
  result     wait for a task, print what became of it, and tell it by the exit status
  watch      its workers, its queues, and tasks as they end
  handlers   the example handlers: what each does, what may be set, what comes of it
  e2e        play scenarios against a worker: what it claims, shown on processes or containers
  certify    your own task code through crashes, stops and odd payloads: a verdict, and advice
  chaos      workers under random load and random faults from a seed, judged by invariants
  bench      measure the worker beside those a user would pick instead
  fleet      what a thousand workers would cost Redis, from what a few are measured to cost
"""

FAILED = 1


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` (without the program's name) ask for; returns the exit status.

    Raises SystemExit after saying why, where they make no sense, and after printing a command's help.
    """
    command = arguments[0] if arguments else ""
    if command in {"-h", "--help"}:
        print(_HELP, end="")
        return 0
    if command not in _COMMANDS:
        problem = f"command {command!r}" if command else "no command"
        print(f"runqy-harness: {problem}: expected one of {', '.join(_COMMANDS)}", file=sys.stderr)
        return MISUNDERSTOOD
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        status = _COMMANDS[command](arguments[1:])
    except CommandFailed as exc:
        print(f"runqy-harness {command}: {exc}", file=sys.stderr)
        status = FAILED
    except ModuleNotFoundError as exc:
        needs = "pip install 'runqy-appliance[harness]'"
        print(
            f"runqy-harness {command}: the package {exc.name} is missing; {needs} brings it", file=sys.stderr
        )
        status = MISUNDERSTOOD
    except Interrupted as exc:
        # The way these are meant to end.
        status = 0 if command in {"serve", "watch"} else 128 + exc.number
    return status


def _interrupt(number: int, _: object) -> None:
    # Once: a second signal would interrupt nothing but the cleaning up.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted(number)


def _demo(arguments: Sequence[str]) -> int:
    parser = Parser("demo", "A worker from nothing to results: needs git and Python, ends by itself.")
    parser.add_argument(
        "--worker",
        type=values.command,
        metavar="COMMAND",
        help="the worker to show, as a shell would split it; default: this project's",
    )
    parser.add_argument(
        "--handler",
        type=values.handler,
        default=Handler("demo"),
        metavar="NAME",
        help="the example handler that is deployed; any but demo tells another story (default: demo)",
    )
    options = parser.parse_args(arguments)
    from harness import demo  # noqa: PLC0415  imports what the other commands do without

    return demo.run(sys.stdout, worker_command=options.worker, handler=options.handler.name)


def _serve(arguments: Sequence[str]) -> int:
    parser = Parser(
        "serve",
        "A local runqy: Redis, server and git repositories for one queue per FOLDER, --repo or --handler. "
        "A folder's content is committed anew whenever a worker registers.",
    )
    _add_server_options(parser)
    _add_queue_options(parser)
    options = parser.parse_intermixed_args(arguments)
    sources: Sequence[Source] = [*options.folders, *options.sources]
    names = options.queue or [local.QUEUE]
    if not sources:
        parser.error("nothing to serve: name a FOLDER, --repo FOLDER_OR_URL or --handler NAME")
    if len(names) != len(sources):
        parser.error(f"--queue: {len(names)} given for {len(sources)} sources of task code, expected as many")
    if len(set(names)) != len(names):
        parser.error(f"--queue {', '.join(names)}: expected different names")
    if options.redis_host_for_workers and options.redis_url is None:
        parser.error(
            "--redis-host-for-workers: only with --redis-url; our own Redis is on this machine alone"
        )
    from harness import serve  # noqa: PLC0415

    settings = _queue_settings(options)
    place = serve.Place(
        host=options.host,
        port=options.port,
        redis_url=options.redis_url,
        redis_host_for_workers=options.redis_host_for_workers,
        worker_key=options.worker_key,
        client_key=options.client_key,
    )
    offers = [
        serve.Offer(name, source, options.branch, settings)
        for name, source in zip(names, sources, strict=True)
    ]
    return serve.run(place, offers)


def _enqueue(arguments: Sequence[str]) -> int:
    parser = Parser(
        "enqueue", "Send tasks with the runqy SDK's client and print their ids, or what became of them."
    )
    parser.add_argument(
        "payload",
        type=str,
        metavar="PAYLOAD",
        help="the task's JSON object; - reads one object a line from stdin",
    )
    parser.add_argument("--queue", required=True, metavar="QUEUE", help="inference, or inference.high")
    add_server(parser)
    parser.add_argument(
        "--count", type=values.whole(1), default=1, metavar="N", help="send each payload N times"
    )
    parser.add_argument(
        "--timeout",
        type=values.whole(0),
        default=300,
        metavar="SECONDS",
        help="for a task (default: 300)",
    )
    parser.add_argument(
        "--wait", action="store_true", help="print results, a JSON line each; 1 if one failed"
    )
    parser.add_argument(
        "--wait-timeout",
        type=values.whole(1),
        default=600,
        metavar="SECONDS",
        help="how long --wait waits for all of them (default: 600)",
    )
    options = parser.parse_intermixed_args(arguments)
    lines = sys.stdin if options.payload == "-" else [options.payload]
    try:
        payloads = [values.json_object(line) for line in lines if line.strip()] * options.count
    except ValueError as exc:
        parser.error(f"PAYLOAD {exc}")
    if not payloads:
        parser.error(f"PAYLOAD {options.payload!r}: expected a JSON object, got nothing")
    from harness import enqueue  # noqa: PLC0415

    return enqueue.run(
        enqueue.Order(options.server, options.key, options.queue, options.timeout, payloads),
        wait_s=options.wait_timeout if options.wait else None,
    )


def _result(arguments: Sequence[str]) -> int:
    from harness import result  # noqa: PLC0415

    return result.main(arguments)


def _watch(arguments: Sequence[str]) -> int:
    from harness import watch  # noqa: PLC0415

    return watch.main(arguments)


def _handlers(arguments: Sequence[str]) -> int:
    parser = Parser("handlers", "The example handlers that `serve --handler NAME` serves.")
    parser.add_argument(
        "--table", action="store_true", help="as a table of Markdown, such as in docs/handlers.md"
    )
    options = parser.parse_args(arguments)
    print(catalogue.as_table() if options.table else catalogue.as_text(), end="")
    return 0


def _bench(arguments: Sequence[str]) -> int:
    from harness.bench import peers, plan, scale  # noqa: PLC0415
    from harness.bench import run as bench  # noqa: PLC0415
    from harness.stack import WORKER_COMMAND  # noqa: PLC0415

    names = [peer.name for peer in peers.PEERS]
    parser = Parser("bench", "The worker beside Celery, RQ, Dramatiq, Huey and arq: one run, one table.")
    add = parser.add_argument
    add("--quick", action="store_true", help="fewer tasks, once: a sixth of the time")
    add(
        "--repetitions",
        type=values.whole(1),
        metavar="N",
        help="of each throughput (default: 5, with --scale 3; quick: 1)",
    )
    add(
        "--peer", action="append", choices=names, metavar="NAME", help=f"only this one; of {', '.join(names)}"
    )
    add("--no-peers", action="store_true", help="our worker alone")
    add("--scale", action="store_true", help="1, 2, 4 and 8 of our workers on one queue, and nothing else")
    add(
        "--environments",
        type=Path,
        default=Path(".bench"),
        metavar="FOLDER",
        help="with a virtual environment for each peer, as `make bench` makes them (default: .bench)",
    )
    add(
        "--worker",
        type=values.command,
        metavar="COMMAND",
        help="our worker, if not this environment's (`make bench`: installed alone, as the peers are)",
    )
    add("--json", type=Path, metavar="FILE", help="all figures, each repetition, as JSON")
    add("--write", type=Path, metavar="FILE", help="the tables as a page, such as docs/benchmarks.md")
    options = parser.parse_args(arguments)
    worker_command = options.worker or WORKER_COMMAND
    changes = {} if options.repetitions is None else {"repetitions": options.repetitions}
    if options.scale:
        if options.peer or options.no_peers:
            parser.error(f"{'--peer' if options.peer else '--no-peers'}: --scale measures our workers alone")
        scale_plan = replace(plan.QUICK_SCALE if options.quick else plan.FULL_SCALE, **changes)
        scale_order = scale.ScaleOrder(scale_plan, _measuring(options), worker_command)
        return scale.run(sys.stdout, scale_order, options.json, options.write)
    order = bench.Order(
        plan=replace(plan.QUICK if options.quick else plan.FULL, **changes),
        environments=options.environments,
        peers=[] if options.no_peers else options.peer or names,
        command=_measuring(options),
        worker_command=worker_command,
    )
    return bench.run(sys.stdout, order, options.json, options.write)


def _fleet(arguments: Sequence[str]) -> int:
    from harness.bench import fleet_run  # noqa: PLC0415
    from harness.stack import WORKER_COMMAND  # noqa: PLC0415

    parser = Parser("fleet", "What workers and tasks cost Redis here, and what a thousand workers would.")
    add = parser.add_argument
    add(
        "--workers",
        type=values.whole(1, 200),
        default=20,
        metavar="N",
        help="to measure with (default: 20); each takes 100 MB with its task process",
    )
    add("--worker", type=values.command, metavar="COMMAND", help="our worker, if not this environment's")
    add("--json", type=Path, metavar="FILE", help="what was measured, as JSON")
    options = parser.parse_args(arguments)
    order = fleet_run.Order(workers=options.workers, worker_command=options.worker or WORKER_COMMAND)
    return fleet_run.run(sys.stdout, order, options.json)


def _measuring(options: argparse.Namespace) -> str:
    """The command line again, with what decides about the figures; where they go is nobody's business."""
    words = ["runqy-harness", "bench"]
    words += ["--scale"] if options.scale else []
    words += ["--quick"] if options.quick else []
    words += ["--repetitions", str(options.repetitions)] if options.repetitions else []
    words += ["--no-peers"] if options.no_peers else []
    words += [word for peer in options.peer or [] for word in ("--peer", peer)]
    return " ".join(words)


def _e2e(arguments: Sequence[str]) -> int:
    from harness.e2e import run as e2e  # noqa: PLC0415
    from harness.scenarios import catalogue  # noqa: PLC0415

    parser = Parser("e2e", "Scenarios that show what a worker does, a line each; exit status 0 if all hold.")
    add = parser.add_argument
    add(
        "--runtime",
        choices=("process", "docker"),
        help="where workers run (default: docker if it can be used)",
    )
    add(
        "--only",
        action="append",
        default=[],
        metavar="GROUP_OR_NAME",
        help="such as recovery, or recovery/backoff; may be given again",
    )
    add("--list", action="store_true", help="the scenarios and what each claims; nothing is played")
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--worker",
        type=values.command,
        metavar="COMMAND",
        help="another worker, as a shell would split it (default: this project's)",
    )
    place.add_argument(
        "--image", metavar="NAME", help="another worker's image (default: runqy-appliance:dev)"
    )
    add("--jobs", type=values.whole(1, 64), default=4, metavar="N", help="scenarios at a time (default: 4)")
    add("--short", action="store_true", help="without the long ones; in containers a handful")
    add(
        "--mutants",
        action="store_true",
        help="workers with defects instead: each scenario must catch its own",
    )
    add("--keep", action="store_true", help="keep logs and files, and say where")
    add("--junit", type=Path, metavar="FILE", help="outcomes as CI services read them")
    add("--json", type=Path, metavar="FILE", help="outcomes with timelines")
    add("--report", type=Path, metavar="FOLDER", help="a page and a picture of what happened, for people")
    options = parser.parse_args(arguments)
    _check_place(parser, options)
    try:
        scenarios = catalogue.chosen(catalogue.every(), options.only)
    except catalogue.NoSuchScenario as exc:
        parser.error(f"--only {exc}")
    if options.list:
        for each in scenarios:
            print(f"{each.name:<36}{each.claim}")
        return 0
    return e2e.run(
        sys.stdout,
        e2e.Order(
            scenarios,
            runtime=options.runtime,
            worker=options.worker,
            image=options.image,
            jobs=options.jobs,
            short=options.short,
            mutants=options.mutants,
            keep=options.keep,
            junit=options.junit,
            json=options.json,
            report=options.report,
        ),
    )


def _check_place(parser: Parser, options: argparse.Namespace) -> None:
    """That ``--runtime`` is the one another worker, by ``--worker`` or ``--image``, is for."""
    if options.worker and options.runtime == "docker":
        parser.error("--worker: a command is for the process runtime; --image is for containers")
    if options.image and options.runtime == "process":
        parser.error("--image: an image is for the docker runtime; --worker is for processes")


def _certify(arguments: Sequence[str]) -> int:
    from harness.certify import catalogue as checks  # noqa: PLC0415
    from harness.certify import run as certify  # noqa: PLC0415

    parser = Parser(
        "certify",
        "Your task code through what production has in store: deployment, crashes, stops, odd payloads. "
        "Exit status 0 certified, 1 not, 2 misunderstood, 3 could not be run.",
    )
    _add_queue_options(parser)
    add = parser.add_argument
    add(
        "--payload",
        action="append",
        default=[],
        type=values.payload,
        metavar="JSON",
        help="a task's JSON object that the code completes; may be given again (default: {})",
    )
    add("--payloads", type=values.payloads, default=[], metavar="FILE", help="the same, one object a line")
    add(
        "--hanging",
        type=values.payload,
        metavar="JSON",
        help="a payload that takes for ever (default: the process is frozen instead)",
    )
    add(
        "--only",
        action="append",
        default=[],
        choices=tuple(checks.OTHERS),
        metavar="CHECK",
        help=f"beside {', '.join(checks.FIRST)}, only this one; of {', '.join(checks.OTHERS)}",
    )
    add("--runtime", choices=("process", "docker"), help="where the worker runs (default: process)")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--worker", type=values.command, metavar="COMMAND", help="default: this project's")
    place.add_argument(
        "--image", metavar="NAME", help="the worker's image; with code in it no FOLDER is needed"
    )
    add("--json", type=Path, metavar="FILE", help="every finding")
    add("--junit", type=Path, metavar="FILE", help="findings as CI services read them")
    add("--report", type=Path, metavar="DIR", help="a page for people, and the worker's log")
    options = parser.parse_intermixed_args(arguments)
    sources = [*options.folders, *options.sources]
    if len(sources) > 1 or (not sources and not options.image):
        parser.error(
            "expected one FOLDER, --repo or --handler; none only with an --image that has code in it"
        )
    if len(options.queue or ()) > 1:
        parser.error(f"--queue {', '.join(options.queue)}: expected one")
    if options.no_results:
        parser.error("--no-results: results are what is judged here")
    _check_place(parser, options)
    return certify.run(
        sys.stdout,
        certify.Order(
            source=sources[0] if sources else None,
            branch=options.branch,
            queue=(options.queue or [local.QUEUE])[0],
            settings=_queue_settings(options),
            payloads=[*options.payload, *options.payloads],
            hanging=options.hanging,
            only=options.only,
            runtime="docker" if options.image else options.runtime or "process",
            image=options.image,
            worker=options.worker,
            json=options.json,
            junit=options.junit,
            report=options.report,
        ),
    )


def _chaos(arguments: Sequence[str]) -> int:
    parser = Parser(
        "chaos",
        "Workers under random load and random faults, both a function of the seed: then everything has to "
        "settle, and what happened has to keep every invariant. Exit status 1 says that it did not.",
    )
    add = parser.add_argument
    add("--seed", type=values.whole(0), metavar="N", help="the same again for the same N (default: any)")
    add("--duration", type=values.seconds, default=60.0, metavar="TIME", help="such as 30s (default: 60s)")
    add("--workers", type=values.whole(1, 20), default=3, metavar="N", help="default: 3")
    add("--runtime", choices=("process",), default="process", help="where workers run (default: process)")
    add(
        "--worker",
        type=values.command,
        metavar="COMMAND",
        help="the worker, as a shell would split it; default: this project's",
    )
    add("--calm", action="store_true", help="the load alone, without a fault")
    add("--report", type=Path, metavar="DIR", help="verdict, timeline, stories and logs, as files")
    add("--json", type=Path, metavar="FILE", help="the summary as JSON")
    options = parser.parse_args(arguments)
    from harness.chaos import command  # noqa: PLC0415

    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    words = ["runqy-harness", "chaos", "--seed", str(seed), "--duration", f"{options.duration:g}s"]
    words += ["--workers", str(options.workers), *(["--calm"] if options.calm else [])]
    words += ["--worker", shlex.join(options.worker)] if options.worker else []
    wish = command.Wish(
        seed=seed,
        duration_s=options.duration,
        workers=options.workers,
        calm=options.calm,
        again=shlex.join(words),
        command=options.worker,
        report=options.report,
        json=options.json,
    )
    return command.execute(wish, sys.stdout)


def _add_server_options(parser: Parser) -> None:
    add = parser.add_argument
    add("--host", default=local.HOST, metavar="HOST", help=f"to listen on (default: {local.HOST})")
    add(
        "--port",
        type=values.whole(0, 65_535),
        default=local.PORT,
        metavar="PORT",
        help=f"to listen on; 0: a free one (default: {local.PORT})",
    )
    add(
        "--redis-url",
        "--redis",
        type=values.redis_url,
        metavar="URL",
        help="default: a Redis of our own, for this run",
    )
    add(
        "--redis-host-for-workers",
        type=values.address,
        metavar="HOST[:PORT]",
        help="where workers reach that Redis, if elsewhere than we do",
    )
    add(
        "--worker-key",
        default=local.KEY,
        metavar="KEY",
        help=f"what workers register with (default: {local.KEY})",
    )
    add(
        "--client-key",
        default=local.KEY,
        metavar="KEY",
        help=f"what clients enqueue with (default: {local.KEY})",
    )


def _add_queue_options(parser: Parser) -> None:
    add = parser.add_argument
    add("folders", nargs="*", type=values.folder, metavar="FOLDER", help="task code, as it is there now")
    add(
        "--repo",
        dest="sources",
        action="append",
        default=[],
        type=values.repository,
        metavar="FOLDER_OR_URL",
        help="task code in a folder, as it is there now, or of a repository anywhere, by its URL",
    )
    add(
        "--handler",
        dest="sources",
        action="append",
        type=values.handler,
        metavar="NAME",
        help="an example handler of the harness, such as echo",
    )
    add(
        "--queue",
        action="append",
        type=values.queue,
        metavar="NAME",
        help=f"one for each source, in their order (default for one source: {local.QUEUE})",
    )
    add(
        "--sub-queue",
        action="append",
        default=[],
        type=values.sub_queue,
        metavar="NAME:PRIORITY",
        help="more is first",
    )
    add(
        "--priority",
        type=values.whole(1),
        default=1,
        metavar="N",
        help="without sub-queues (default: 1)",
    )
    add("--startup-cmd", default="python main.py", metavar="COMMAND", help="default: python main.py")
    add(
        "--startup-timeout",
        type=values.whole(1),
        default=60,
        metavar="SECONDS",
        help="to become ready (default: 60)",
    )
    add("--mode", choices=("long_running", "one_shot"), default="long_running", help="default: long_running")
    add("--no-results", action="store_true", help="results are not kept in Redis")
    add(
        "--vault",
        action="append",
        default=[],
        type=values.vault,
        metavar="NAME=VALUE",
        help="for the task's environment",
    )
    add("--branch", metavar="NAME", help="branch or tag of a URL (default: main)")
    add("--code-path", metavar="PATH", help="the folder of the repository that the code is in")
    add("--requirements", metavar="FILE", help="default: requirements.txt")
    add("--git-token", metavar="TOKEN", help="for an https URL that wants one")


def _queue_settings(options: argparse.Namespace) -> dict[str, Any]:
    """What :func:`_add_queue_options` reads, as fields of a QueueConfig."""
    return {
        "startup_cmd": options.startup_cmd,
        "mode": options.mode,
        "startup_timeout_secs": options.startup_timeout,
        "priority": options.priority,
        "sub_queues": dict(options.sub_queue),
        "redis_storage": not options.no_results,
        "requirements_file": options.requirements,
        "code_path": options.code_path,
        "vaults": {"local": dict(options.vault)} if options.vault else {},
        "git_token": options.git_token,
    }


_COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "demo": _demo,
    "serve": _serve,
    "enqueue": _enqueue,
    "result": _result,
    "watch": _watch,
    "handlers": _handlers,
    "chaos": _chaos,
    "bench": _bench,
    "fleet": _fleet,
    "certify": _certify,
    "e2e": _e2e,
}
