"""``runqy-appliance crashes``: reads the crash dossiers that workers left in Redis."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from appliance.config.settings import Settings
from appliance.control.contract import RedisEndpoint
from appliance.control.contracts import read_contracts
from appliance.observe.dossier import describe
from appliance.queue import keys
from appliance.queue.opening import open_line

#: Keys that one SCAN looks at; more is fewer round trips, and longer pauses for others.
_SCAN_COUNT = 1_000


def read_crashes(settings: Settings) -> list[Mapping[str, Any]]:
    """The dossiers of every worker on the Redis servers of the configured queues, oldest first.

    Raises :class:`~appliance.errors.RegistrationError` where the server does not tell which those
    are, :class:`~appliance.errors.QueueError` where one does not answer.
    """
    endpoints = {contract.redis for contract in read_contracts(settings)}
    found = [record for endpoint in endpoints for record in _of(endpoint)]
    return sorted(found, key=lambda record: record["at"])


def tell_crashes(crashes: list[Mapping[str, Any]]) -> str:
    """The dossiers for people."""
    if not crashes:
        return "no crashes are on record"
    return "\n\n".join(
        describe(crash, datetime.fromtimestamp(crash["at"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC"))
        for crash in crashes
    )


def _of(endpoint: RedisEndpoint) -> Iterator[Mapping[str, Any]]:
    line = open_line(endpoint, "runqy-appliance:crashes")
    try:
        names: set[bytes] = set()
        for master in line.masters():
            cursor: Any = b"0"
            while True:
                cursor, page = master.call(
                    "SCAN", cursor, "MATCH", keys.worker_crashes("*"), "COUNT", _SCAN_COUNT
                )
                names.update(page)
                if cursor == b"0":
                    break
        for name in sorted(names):
            worker_id = name.decode(errors="replace").split(":", 2)[2].rpartition(":")[0]
            for text in line.call("LRANGE", name, 0, -1):
                yield {"worker": worker_id, **json.loads(text)}
    finally:
        line.close()
