"""A start command that cannot work is told from one that can, with the one sentence that helps."""

from pathlib import Path

import pytest

from appliance.deploy.start_command import check_script, check_words
from appliance.errors import DeploymentRejected

ENV = {"PATH": "/usr/bin:/bin"}


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (
            "TOKEN=canary python main.py",
            "TOKEN=… in front of a program sets a variable in a shell, and no shell runs this: give TOKEN in "
            "a vault of the queue, or put the word env in front of it all",
        ),
        (
            "cd src && python main.py",
            "cd is a command of shells, and no shell runs this: set deployment.code_path to that folder, or "
            "put sh -c in front of it all, in quotes",
        ),
        (
            "source env.sh",
            "source is a command of shells, and no shell runs this: put it into a script, or put sh -c "
            "in front of it all, in quotes",
        ),
        (
            "exec python main.py",
            "exec is a command of shells, and no shell runs this: put it into a script, or put sh -c "
            "in front of it all, in quotes",
        ),
    ],
)
def test_what_only_a_shell_could_run_is_refused_with_what_helps(command: str, sentence: str) -> None:
    with pytest.raises(DeploymentRejected) as refused:
        check_words(command)

    assert str(refused.value) == f"deployment.startup_cmd: {sentence}"


@pytest.mark.parametrize(
    "command",
    [
        "python main.py",
        "env TOKEN=x python main.py",
        "sh -c 'cd src && exec python main.py > out.log'",
        "python main.py --prompt 'a && b' \"x | y\" 'costs $5'",
        "python main.py --ratio a&b --price=5$ x=1",
        "./run.sh --level=3 -- -",
    ],
)
def test_a_command_that_means_what_it_says_is_not_odd(command: str) -> None:
    assert check_words(command) == ()


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("python main.py && echo done", "&&"),
        ("python main.py | tee out", "|"),
        ("python main.py > out.log", ">"),
        ("python main.py 2>&1", "2>&1"),
        ("python main.py; echo", "word 2, with the ; behind it,"),
        ("python main.py --token canary; echo", "word 4, with the ; behind it,"),
        ("python main.py --model $MODEL", "$MODEL"),
        ('python main.py --model "${MODEL}"', '"${MODEL}"'),
        ("python main.py --day=$(date)", "word 3"),
        ("python main.py --password ca$nary", "word 4"),
        ("python main.py --password=$canary2", "word 3"),
    ],
)
def test_what_a_shell_would_have_understood_is_named_and_not_refused(command: str, word: str) -> None:
    (oddity,) = check_words(command)

    assert oddity.startswith(f"startup_cmd: {word} is passed to the program as it stands")


def _script(folder: Path, content: bytes, mode: int = 0o755) -> None:
    (folder / "run.sh").write_bytes(content)
    (folder / "run.sh").chmod(mode)


@pytest.mark.parametrize(
    ("content", "mode", "command", "sentence"),
    [
        pytest.param(
            b"#!/bin/sh\n",
            0o644,
            "./run.sh -x",
            "./run.sh is not executable: commit it with its execute bit (git update-index --chmod=+x), or "
            "put sh in front of it",
            id="no execute bit",
        ),
        pytest.param(
            b"#!/bin/sh\r\nexec python main.py\r\n",
            0o755,
            "./run.sh",
            "./run.sh has Windows line ends (CRLF), which the kernel and shells take for part of the words: "
            "commit it with LF, and put run.sh text eol=lf into .gitattributes",
            id="CRLF",
        ),
        pytest.param(
            b"#!/bin/sh\r\nexec python main.py\r\n",
            0o644,
            "sh run.sh",
            "run.sh has Windows line ends (CRLF), which the kernel and shells take for part of the words: "
            "commit it with LF, and put run.sh text eol=lf into .gitattributes",
            id="CRLF, run by a shell",
        ),
        pytest.param(
            b"exec python main.py\n",
            0o755,
            "./run.sh",
            "./run.sh needs a first line that names its interpreter, such as #!/bin/sh",
            id="no interpreter",
        ),
        pytest.param(
            b"#!/opt/nope/bash -e\n",
            0o755,
            "./run.sh",
            "the first line of ./run.sh names '/opt/nope/bash', which this machine does not have",
            id="interpreter that is not there",
        ),
        pytest.param(
            b"#!/usr/bin/env nope3\n",
            0o755,
            "./run.sh",
            "the first line of ./run.sh names 'nope3', which this machine does not have",
            id="interpreter that is not on the path",
        ),
    ],
)
def test_a_script_that_nothing_can_start_is_refused_with_what_helps(
    tmp_path: Path, content: bytes, mode: int, command: str, sentence: str
) -> None:
    _script(tmp_path, content, mode)

    with pytest.raises(DeploymentRejected) as refused:
        check_script(command, tmp_path, None, ENV)

    assert str(refused.value) == f"deployment.startup_cmd: {sentence}"


@pytest.mark.parametrize(
    ("content", "command"),
    [
        (b"#!/bin/sh\nexec python main.py\n", "./run.sh"),
        (b"#! /bin/sh -e\n", "./run.sh"),
        (b"#!/usr/bin/env sh\n", "./run.sh"),
        (b"#!/usr/bin/env -S sh -e\n", "./run.sh"),
        (b"\x7fELF\x02\x01\x01\x00", "./run.sh"),
        (b"\x7fELF\x02\x01\x01\x00\r\n", "./run.sh"),
        (b"exec python main.py\n", "sh run.sh"),
        (b"print()\r\n", "python run.sh"),
        (b"", "./not-there.sh"),
        (b"", "sh -c 'exec ./run.sh'"),
    ],
)
def test_a_script_that_can_be_started_is_left_alone(tmp_path: Path, content: bytes, command: str) -> None:
    _script(tmp_path, content)

    check_script(command, tmp_path, None, ENV)


@pytest.mark.parametrize(
    "command",
    [
        "export TOKEN=canary && python main.py",
        "cd src && TOKEN=canary python main.py",
        "./run.sh --token canary",
        "./run.sh --token=canary",
    ],
)
def test_a_refusal_shows_nothing_of_what_may_be_a_secret(tmp_path: Path, command: str) -> None:
    _script(tmp_path, b"#!/bin/sh\n", 0o644)

    def check() -> None:
        check_words(command)
        check_script(command, tmp_path, None, ENV)

    with pytest.raises(DeploymentRejected) as refused:
        check()

    assert "canary" not in str(refused.value)


def test_an_interpreter_of_the_environment_is_there(tmp_path: Path) -> None:
    _script(tmp_path, b"#!/usr/bin/env only-here\n")
    program = tmp_path / "venv" / "bin" / "only-here"
    program.parent.mkdir(parents=True)
    program.write_text("")
    program.chmod(0o755)

    check_script("./run.sh", tmp_path, tmp_path / "venv", ENV)
