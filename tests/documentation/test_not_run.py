"""Commands of the pages that no test runs as written: what they name is there, and their options exist."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from harness.commands.parser import Parser
from tests.documentation.blocks import ROOT
from tests.documentation.ledger import NOT_RUN


class Understood(Exception):
    """The command line made sense, and would now be obeyed."""


def assert_understood(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails unless ``runqy-harness`` would do as it is told; it is kept from doing it."""
    for name in ("parse_args", "parse_intermixed_args"):
        parse = getattr(Parser, name)

        def only_parse(self: Parser, given: Sequence[str], parse: Any = parse) -> None:
            parse(self, given)
            raise Understood

        monkeypatch.setattr(Parser, name, only_parse)
    with pytest.raises(Understood):
        cli.run(arguments)


def commands(*programs: str) -> list[str]:
    return [command for command in NOT_RUN if command.startswith(programs)]


@pytest.mark.parametrize("command", commands("make "))
def test_a_make_target_exists_and_runs_what_is_understood(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # when
    done = subprocess.run(
        [*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    # then
    assert done.returncode == 0, done.stderr
    for line in re.findall(r"^\.venv/bin/runqy-harness (.+)$", done.stdout, re.MULTILINE):
        assert_understood(shlex.split(line), monkeypatch)
    for program in re.findall(r"^(?:compose|\.ci)/\S+", done.stdout, re.MULTILINE):
        assert (ROOT / program).is_file()
    for variable in re.findall(r"\b([A-Z0-9_]+)=", command):
        files = [ROOT / "Makefile", *(ROOT / "compose").rglob("*.sh")]
        assert any(re.search(rf"\$[({{]{variable}\b", file.read_text()) for file in files), variable


@pytest.mark.parametrize("command", commands("runqy-harness "))
def test_a_command_of_the_harness_is_understood(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if "payload.json" in command:
        (tmp_path / "payload.json").write_text("{}")
        monkeypatch.chdir(tmp_path)
    assert_understood(shlex.split(command)[1:], monkeypatch)


def test_a_command_of_the_harness_with_a_wrong_option_would_be_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SystemExit):
        assert_understood(["chaos", "--sead", "7"], monkeypatch)


def in_full(command: str) -> list[str]:
    """A command as its program gets it: the alias put in, variables before it left out."""
    (alias,) = (shlex.split(each)[1] for each in NOT_RUN if each.startswith("alias demo="))
    words = shlex.split(re.sub(r"^demo ", alias.removeprefix("demo=") + " ", command))
    return words[next(index for index, word in enumerate(words) if "=" not in word) :]


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="no docker-compose")
@pytest.mark.parametrize("command", commands("demo ", "docker-compose ", "RUNQY_SERVER_URL="))
def test_a_compose_command_names_files_services_and_subcommands_that_exist(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given the part before the subcommand, which chooses the files
    words = in_full(command)
    start = next(i for i, word in enumerate(words[1:], 1) if word[0] != "-" and words[i - 1][0] != "-")
    chosen, subcommand, rest = words[:start], words[start], words[start + 1 :]
    monkeypatch.setenv("RUNQY_SERVER_URL", "http://server:8081")
    monkeypatch.setenv("RUNQY_QUEUES", "inference")

    # when
    def asked(*arguments: str) -> str:
        done = subprocess.run(
            [*chosen, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    services = asked("config", "--services").split()
    usage = asked(subcommand, "--help")

    # then
    named = {word.partition("=")[0] for word in rest} & {"worker", "server", "grafana"}
    assert named <= set(services)
    if subcommand != "exec":  # what comes after it is another program's
        assert [word for word in rest if word.startswith("--") and word not in usage] == []


def test_what_is_sent_inside_the_demos_server_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    (command,) = commands("demo exec server runqy-harness")

    assert_understood(shlex.split(command)[4:], monkeypatch)


def test_the_manifests_are_where_kubectl_is_told_to_look() -> None:
    (command,) = commands("kubectl apply ")

    assert (ROOT / command.split()[-1] / "kustomization.yaml").is_file()


def test_the_key_is_written_where_the_compose_file_reads_it() -> None:
    (command,) = commands("echo -n")
    where = re.search(r">(\S+)", command)
    production = (ROOT / "compose" / "production.yml").read_text()
    reads = re.search(r"\$\{API_KEY_FILE:-(\S+?)\}", production)

    assert where is not None
    assert reads is not None
    assert (ROOT / where[1]).resolve() == (ROOT / "compose" / reads[1]).resolve()
