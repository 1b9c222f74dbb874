"""The table of commands and the folder of commands are the same list."""

import importlib
import importlib.metadata
import pkgutil
from pathlib import Path

import pytest

from harness import cli, commands

#: What several commands share.
SHARED = {"operating", "parser", "queue_options", "values"}


def test_each_module_of_the_folder_is_a_command_or_shared_by_commands() -> None:
    modules = {each.name for each in pkgutil.iter_modules(commands.__path__)}

    assert modules - SHARED == set(cli.COMMANDS)


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_each_command_explains_itself_and_ends_well(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = importlib.import_module(f"harness.commands.{name}")

    with pytest.raises(SystemExit) as end:
        command.run(["--help"])

    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: runqy-harness {name} ")


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == 0

    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]]
    assert listed == [*cli.COMMANDS, "version"]


@pytest.mark.parametrize("argument", ["version", "--version", "-version"])
def test_it_says_its_version_in_each_spelling_that_the_worker_has(
    argument: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([argument]) == 0

    assert capsys.readouterr().out == f"runqy-harness {importlib.metadata.version('runqy-appliance')}\n"


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("load", ["--payload", "{folder}/none"], "--payload: {folder}/none: No such file or directory"),
        ("load", ["--payload", "{folder}/text"], "--payload: {folder}/text: expected a JSON object"),
        (
            "load",
            ["--picture", "{folder}/none/p.svg"],
            "--picture: '{folder}/none/p.svg': expected a file that",
        ),
        ("dev", ["--payload", "{folder}/none"], "--payload: {folder}/none: No such file or directory"),
        ("dev", ["--env-file", "{folder}/none"], "--env-file: {folder}/none: No such file or directory"),
        *(
            (
                name,
                ["--json", "{folder}/none/f"],
                "--json: '{folder}/none/f': expected a file that can be written",
            )
            for name in ("bench", "certify", "chaos", "e2e", "fleet", "load", "soak")
        ),
        ("certify", ["--junit", "{folder}"], "--junit: '{folder}': expected a file that can be written"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_mistake_in_the_command_line(
    name: str, arguments: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("it is none\n")
    command = importlib.import_module(f"harness.commands.{name}")

    with pytest.raises(SystemExit) as end:
        command.run([argument.format(folder=tmp_path) for argument in arguments])

    assert end.value.code == 2
    assert problem.format(folder=tmp_path) in capsys.readouterr().err
