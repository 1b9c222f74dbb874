"""A command line that was understood. Pure."""

from pathlib import Path

from appliance.values import value_class

#: The first line of the help, and of what is said of a command line that is not understood.
USAGE = (
    "runqy-appliance [run | validate | config | health | status | crashes | explain TASK_ID | version]"
    " [--config FILE] [--json] [--live | --started] [--help]"
)


@value_class
class Options:
    """The ``command``, a module of :mod:`appliance.commands`, and its options; ``operand`` is a task's id."""

    command: str
    config_file: Path | None = None
    as_json: bool = False
    live: bool = False
    started: bool = False
    operand: str = ""
