"""Logging to stderr: constant events with fields, as text for people or JSON for machines.

Both are read on terminals: text from outside is escaped in both (:mod:`appliance.plain`). In text, what has
several lines is continued with indented ones, so that none of them looks like an event.
"""

import logging
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TextIO, cast

import structlog

from appliance.config.settings import LogSettings
from appliance.observe.redaction import Redactor
from appliance.observe.stream import LogStream
from appliance.plain import plain, plain_json

#: In front of the second and later lines of a value.
_INDENT = "\n    "


def configure(
    settings: LogSettings,
    redactor: Redactor,
    stream: TextIO | LogStream,
    heard: Callable[[Mapping[str, Any]], None] | None = None,
    worker_id: str | None = None,
) -> None:
    """Set logging up for the process; everything passes ``redactor`` after it is rendered to data.

    ``worker_id`` is on every line: logs of many workers are read together. ``heard`` is called with every
    event that is logged, free of secrets.
    """
    renderers: list[Any] = (
        [structlog.processors.JSONRenderer(ensure_ascii=False), _plain_json]
        if settings.format == "json"
        else [_plain_values, _console(colours=stream.isatty())]
    )

    def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        clean = {key: redactor.field(key, value) for key, value in event.items()}
        if heard is not None:
            heard(clean)
        return clean

    def tell_lost(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        if isinstance(stream, LogStream):
            stream.tell_lost()
        return event

    def sign(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if worker_id is not None:
            event.setdefault("worker_id", worker_id)
        return event

    structlog.configure(
        processors=[
            tell_lost,
            sign,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Tracebacks become text before the redactor looks.
            structlog.processors.format_exc_info,
            redact,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(settings.level.upper())),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, stream)),
        cache_logger_on_first_use=False,
    )


def configure_command(stream: TextIO) -> None:
    """The same for a command that logs by the way: as text, whatever the settings say of a worker's log."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _plain_values,
            _console(colours=False),
        ],
        logger_factory=structlog.PrintLoggerFactory(stream),
    )


def _console(*, colours: bool) -> structlog.dev.ConsoleRenderer:
    plain_traceback = structlog.dev.plain_traceback
    return structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=plain_traceback, pad_event_to=26)


class _Quoted:
    """A text that the renderer shows in quotes, by its repr, which escapes what :func:`plain` does."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return repr(self._text)


def _plain_values(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {plain(key): _plain_value(key, value) for key, value in event.items()}


def _plain_value(key: str, value: Any) -> Any:
    if not isinstance(value, str) or value.isprintable():
        return value  # the renderer shows all but texts by their repr
    # These it shows as they are: the one word of the event, and the lines of a traceback.
    return _INDENT.join(map(plain, value.split("\n"))) if key in ("event", "exception") else _Quoted(value)


def _plain_json(_logger: Any, _method: str, text: str) -> str:
    return plain_json(text)
