"""What ``runqy-harness init`` says: what it wrote, and what to type next."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from harness.init.project import File, Project
from harness.output.terminal import Terminal, printable


def written(
    out: TextIO, project: Project, folder: Path, made: Mapping[str, File], kept: Sequence[str]
) -> None:
    """Say it on ``out``; ``kept`` are the files that were there before."""
    terminal = Terminal(out)
    terminal.line(terminal.strong(printable(f"{project.name}: a task repository in {folder}")))
    terminal.line()
    width = max(map(len, made))
    for path, file in made.items():
        mark, what = ("-", "was there, and stays") if path in kept else (terminal.good("✓"), file.what)
        terminal.line(f"  {mark} {path:{width}}  {terminal.aside(what)}")
    terminal.line()
    terminal.line("Next:")
    terminal.line()
    for command in _next(project, folder):
        terminal.line(f"  {command}")


def _next(project: Project, folder: Path) -> list[str]:
    mode = " --mode one_shot" if project.mode == "one_shot" else ""
    return [
        *([] if folder.resolve() == Path.cwd() else [f"cd {_word(folder)}"]),
        f"runqy-harness dev{mode} --payload payload.json",
        "runqy-harness test",
        f"runqy-harness certify .{mode} --payloads payload.json",
        *([f"docker build --tag {project.name} ."] if project.docker else []),
    ]


def _word(folder: Path) -> str:
    """A folder as a shell's commands take it: never as an option."""
    name = str(folder)
    return shlex.quote(f"./{name}" if name.startswith("-") else name)
