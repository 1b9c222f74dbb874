"""HTTP to a server that was named, as every command of the harness asks one."""

import os
from typing import Any

import httpx

from harness.failure import CommandFailed


def http_client(server: str, **options: Any) -> httpx.Client:
    """A client for ``server`` that no variable of the environment misleads.

    Raises :class:`~harness.failure.CommandFailed` where Python itself cannot set one up: SSLKEYLOGFILE may
    name a file that cannot be written.
    """
    try:
        return httpx.Client(base_url=server, trust_env=False, **options)
    except OSError as exc:
        key_log = os.environ.get("SSLKEYLOGFILE")
        named = f"SSLKEYLOGFILE={key_log!r}: " if key_log else ""
        raise CommandFailed(f"{named}{exc.strerror or exc}") from exc
