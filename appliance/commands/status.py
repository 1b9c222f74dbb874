"""``runqy-appliance status``: print what the worker on this machine is doing."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from appliance.commands.endpoint import NoAnswer, address, ask
from appliance.commands.options import Options
from appliance.exits import Exit
from appliance.plain import plain, plain_lines
from appliance.shape import TEXT, TRUTH, Kind, Shape, misfit, number, or_none, whole

_COUNT, _SECONDS = whole(), number()
_DEPTH: Shape = {
    **dict.fromkeys(("pending", "active", "scheduled", "retry"), _COUNT),
    "paused": TRUTH,
}
#: What is told here of an answer of ``/status``.
SHAPE: Shape = {
    "worker": {"id": TEXT, "status": TEXT, "quiet": TRUTH, "uptime_s": _SECONDS, "version": TEXT},
    "ready": TRUTH,
    "reasons": [{"text": TEXT}],
    "stuck": [TEXT],
    "timeline": [{"at": TEXT, "parent": TEXT, "what": TEXT, "text": TEXT}],
    "parents": [
        {
            "parent": TEXT,
            "state": TEXT,
            "slots": {"in_use": _COUNT, "total": _COUNT},
            "recovery": {"total_restarts": _COUNT},
            "commit": or_none(TEXT),
            "notes": [TEXT],
            "queues": [
                {
                    "name": TEXT,
                    "priority": _COUNT,
                    "depth": Kind(
                        "the counts of a queue, or null",
                        lambda value: value is None or misfit(value, _DEPTH) is None,
                    ),
                }
            ],
            "tasks": [{"id": TEXT, "queue": TEXT, "age_s": _SECONDS, "retried": _COUNT}],
        }
    ],
}


def run(options: Options, environ: Mapping[str, str], cwd: Path) -> int:
    """For people, or (``--json``) the whole answer."""
    try:
        _, answer = ask(address(options, environ, cwd), "/status", SHAPE)
    except NoAnswer as exc:
        print(plain(f"status: {exc}"), file=sys.stderr)
        return Exit.UNHEALTHY
    print(json.dumps(answer, indent=2) if options.as_json else tell(answer))
    return Exit.OK


def tell(status: Mapping[str, Any]) -> str:
    """The answer of ``/status``, which is of that :data:`SHAPE`, for people: several lines."""
    worker = status["worker"]
    quiet = ", quiet" if worker["quiet"] else ""
    lines = [
        f"{worker['id']}: {'ready' if status['ready'] else 'not ready'}, {worker['status']}{quiet}, "
        f"up for {worker['uptime_s']:.0f} s, version {worker['version']}"
    ]
    lines += [f"  {text}" for text in (*(reason["text"] for reason in status["reasons"]), *status["stuck"])]
    for parent in status["parents"]:
        lines += ["", *_tell_parent(parent)]
    if status["timeline"]:
        lines += ["", "lately:"]
    lines += [
        f"  {moment['at']}  {moment['parent']}: {moment['what'].replace('_', ' ')}  {moment['text']}".rstrip()
        for moment in status["timeline"][-10:]
    ]
    return plain_lines(lines)


def _tell_parent(parent: Mapping[str, Any]) -> Iterator[str]:
    slots, recovery = parent["slots"], parent["recovery"]
    yield (
        f"{parent['parent']}: {parent['state']}, {slots['in_use']} of {slots['total']} slots in use, "
        f"{recovery['total_restarts']} restarts, commit {(parent['commit'] or 'none')[:10]}"
    )
    yield from (f"  {note}" for note in parent["notes"])
    for queue in parent["queues"]:
        depth = queue["depth"]
        counts = (
            ", ".join(f"{depth[kind]} {kind}" for kind in ("pending", "active", "scheduled", "retry"))
            if depth
            else "Redis does not say how many tasks wait"
        )
        paused = ", paused" if depth and depth["paused"] else ""
        yield f"  {queue['name']} (priority {queue['priority']}): {counts}{paused}"
    for task in parent["tasks"]:
        retried = f", retried {task['retried']}" if task["retried"] else ""
        yield f"  running {task['id']} of {task['queue']} for {task['age_s']:.1f} s{retried}"
