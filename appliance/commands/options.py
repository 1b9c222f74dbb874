"""A command line that was understood. Pure."""

from dataclasses import dataclass
from pathlib import Path

#: The first line of the help, and of what is said of a command line that is not understood.
USAGE = (
    "runqy-appliance [run | validate | config | health | status | crashes | explain TASK_ID | version]"
    " [--config FILE] [--json] [--live | --started] [--help]"
)


@dataclass(frozen=True)
class Options:
    """The ``command``, a module of :mod:`appliance.commands`, and its options; ``operand`` is a task's id."""

    command: str
    config_file: Path | None = None
    as_json: bool = False
    live: bool = False
    started: bool = False
    operand: str = ""
