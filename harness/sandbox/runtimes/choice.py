"""Which runtime a command uses: the one that was asked for, or the one another worker needs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.sandbox.runtimes.process import ProcessRuntime
from harness.sandbox.runtimes.protocol import Runtime
from harness.sandbox.tools import search_path

if TYPE_CHECKING:
    from harness.sandbox.runtimes.docker import DockerRuntime


def on_processes(command: Sequence[str]) -> ProcessRuntime:
    """Workers as processes of this machine, started by ``command``."""
    return ProcessRuntime(command, {"PATH": search_path()})


def in_containers(image: str | None = None) -> "DockerRuntime":
    """Workers of ``image``, or of this project's, in containers."""
    # why not above: what it brings along takes a quarter of a command's start.
    from harness.sandbox.runtimes.docker import IMAGE, DockerRuntime  # noqa: PLC0415

    return DockerRuntime(image or IMAGE)


def chosen(runtime: str, command: Sequence[str], image: str | None) -> Runtime:
    """``runtime`` is ``process`` or ``docker``."""
    return in_containers(image) if runtime == "docker" else on_processes(command)
