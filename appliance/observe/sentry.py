"""Errors that the worker logs, as events of Sentry, by the official SDK; imported only where switched on.

What is sent is the log's event, after the redactor: no payload, no environment, no local variable of a
traceback.
"""

from collections.abc import Mapping
from typing import Any

import sentry_sdk
from sentry_sdk.utils import BadDsn

from appliance.errors import ConfigurationError

#: Seconds that sending what is left may take.
_LAST_S = 2.0
_LEVELS = frozenset(("error", "critical"))


class Sentry:
    """See the module; raises :class:`~appliance.errors.ConfigurationError` for a DSN that is none."""

    def __init__(self, dsn: str, version: str, server_name: str) -> None:
        try:
            self._client = sentry_sdk.Client(
                dsn,
                release=f"runqy-appliance@{version}",
                server_name=server_name,
                # Nothing that looks around by itself: whatever is sent passed the redactor.
                default_integrations=False,
                auto_enabling_integrations=False,
                include_local_variables=False,
                send_default_pii=False,
            )
        except BadDsn as exc:
            raise ConfigurationError(
                (f"RUNQY_SENTRY_DSN: must be the DSN of a project in Sentry ({exc})",)
            ) from exc

    def add(self, event: Mapping[str, Any]) -> None:
        """Send an event of the log if it is an error."""
        if event.get("level") not in _LEVELS:
            return
        name = str(event.get("event", ""))
        fields = {key: value for key, value in event.items() if key not in ("event", "level", "timestamp")}
        self._client.capture_event(
            {
                "message": name,
                "level": "fatal" if name == "worker.failed" else "error",
                "logger": "runqy-appliance",
                # One issue for each kind of event and its parent queue, whatever its other fields are.
                "fingerprint": [name, str(event.get("parent", ""))],
                "tags": {key: str(fields[key]) for key in ("parent", "queue") if key in fields},
                "extra": fields,
            }
        )

    def stop(self) -> None:
        """Send what is left."""
        self._client.close(timeout=_LAST_S)
