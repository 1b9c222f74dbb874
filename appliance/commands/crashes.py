"""``runqy-appliance crashes``: print the crash dossiers that workers left in Redis, oldest first."""

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from appliance.commands.loading import look_into_redis
from appliance.commands.options import Options
from appliance.config.settings import Settings
from appliance.control.contract import RedisEndpoint
from appliance.control.contracts import read_contracts
from appliance.errors import QueueRejected
from appliance.exits import Exit
from appliance.observe.crash import KEPT_DOSSIERS, describe, read
from appliance.plain import plain
from appliance.queue import keys
from appliance.queue.connection import Connection
from appliance.queue.opening import open_connection

#: Keys that one SCAN looks at; more is fewer round trips, and longer pauses for others.
_SCAN_COUNT = 1_000


def run(options: Options, environ: Mapping[str, str], cwd: Path) -> int:
    """For people, or (``--json``) as a JSON array."""

    def look(settings: Settings) -> int:
        crashes, broken = read_crashes(settings)
        for problem in broken:
            print(plain(f"warning: {problem}"), file=sys.stderr)
        print(json.dumps(crashes, indent=2) if options.as_json else tell_crashes(crashes))
        return Exit.OK

    return look_into_redis(options, environ, cwd, look)


def read_crashes(settings: Settings) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The dossiers of every worker on the Redis servers of the configured queues, oldest first; and those
    that are none, a line each that says which and why.

    Raises :class:`~appliance.errors.RegistrationError` where the server does not tell which those
    are, :class:`~appliance.errors.QueueError` where one does not answer.
    """
    endpoints = {contract.redis for contract in read_contracts(settings)}
    broken: list[str] = []
    found = [record for endpoint in endpoints for record in _of(endpoint, broken)]
    return sorted(found, key=lambda record: record["at"]), broken


def tell_crashes(crashes: list[Mapping[str, Any]]) -> str:
    """The dossiers for people."""
    if not crashes:
        return "no crashes are on record"
    return "\n\n".join(
        describe(crash, datetime.fromtimestamp(crash["at"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC"))
        for crash in crashes
    )


def _of(endpoint: RedisEndpoint, broken: list[str]) -> Iterator[Mapping[str, Any]]:
    line = open_connection(endpoint, "runqy-appliance:crashes")
    try:
        for name in sorted(_names(line)):
            worker_id = name.decode(errors="replace").removeprefix(keys.worker_crashes(""))
            try:
                texts = line.call("LRANGE", name, -KEPT_DOSSIERS, -1)
            except QueueRejected as exc:
                broken.append(f"crashes of {worker_id}: {exc}")
                continue
            for position, text in enumerate(texts, 1):
                try:
                    yield {"worker": worker_id, **read(text)}
                except ValueError as exc:
                    broken.append(f"crash {position} of {worker_id} cannot be read: {exc}")
    finally:
        line.close()


def _names(line: Connection) -> set[bytes]:
    names: set[bytes] = set()
    for master in line.masters():
        cursor: Any = b"0"
        while True:
            pattern = keys.worker_crashes("*")
            cursor, page = master.call("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT)
            names.update(page)
            if cursor == b"0":
                break
    return names
