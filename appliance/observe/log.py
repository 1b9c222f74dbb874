"""Logging to stderr: constant events with fields, as text for people or JSON for machines."""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

from appliance.config.settings import LogSettings
from appliance.observe.recent import Recent
from appliance.observe.redaction import Redactor


def configure(
    settings: LogSettings,
    redactor: Redactor,
    stream: TextIO | None = None,
    recent: Recent | None = None,
) -> None:
    """Set logging up for the process; everything passes ``redactor`` after it is rendered to data.

    ``recent`` is handed every event that is logged.
    """
    stream = stream or sys.stderr
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=26
        )
    )

    def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        clean = {key: redactor.field(key, value) for key, value in event.items()}
        if recent is not None:
            recent.add(clean)
        return clean

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Tracebacks become text before the redactor looks.
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(settings.level.upper())),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def answer(event: str, **fields: object) -> None:
    """Log what somebody has just asked for, whatever the level is set to."""
    factory = structlog.get_config()["logger_factory"]
    log = structlog.wrap_logger(factory(), wrapper_class=structlog.make_filtering_bound_logger(0))
    log.info(event, **fields)
