"""What programs of a deployment print reaches people without secrets, wherever it is cut."""

from pathlib import Path

import pytest

from appliance.clock import SystemClock
from appliance.deploy.command import LINE_LENGTH, Command, Limits, Runner, _Lines
from appliance.errors import CommandFailed
from appliance.observe.redaction import Redactor

SECRET = "hunter2-and-more"
PATIENT = Limits(60, 60)


def redactor() -> Redactor:
    found = Redactor()
    found.add(SECRET)
    return found


@pytest.mark.parametrize("before", [LINE_LENGTH - 5, LINE_LENGTH, 2 * LINE_LENGTH - 5, 3 * LINE_LENGTH - 8])
def test_a_secret_across_the_end_of_a_piece_is_masked(before: int) -> None:
    said: list[str] = []
    lines = _Lines(redactor().text, (said.append,))

    for at in range(0, before, 1000):
        lines.feed("stderr", b"x" * min(1000, before - at))
    lines.feed("stderr", SECRET[:7].encode())
    lines.feed("stderr", SECRET[7:].encode() + b"y" * LINE_LENGTH + b"\rnext\n")
    lines.flush()

    assert "".join(said) == "x" * before + "********" + "y" * LINE_LENGTH + "next"
    assert max(map(len, said)) <= LINE_LENGTH


def test_the_token_that_pip_was_given_in_a_variable_is_in_no_line(tmp_path: Path) -> None:
    said: list[str] = []
    script = 'echo "Cloning https://${TOKEN}@github.com/a/b to /tmp/x"; echo "ERROR: ${TOKEN}@" >&2; exit 3'
    command = Command(("/bin/sh", "-c", script), tmp_path, {"TOKEN": "gh_x9"})

    with pytest.raises(CommandFailed) as failed:
        Runner(SystemClock(), Redactor().text, said.append).run(command, PATIENT)

    assert "Cloning https://********@github.com/a/b to /tmp/x" in said
    assert "https://********@github.com" in str(failed.value)
    assert "https://gh_x9" not in str(failed.value)


def test_a_program_that_cannot_be_started_is_named_without_its_secrets(tmp_path: Path) -> None:
    command = Command(("/nowhere/git", "clone", f"https://me:{SECRET}x@host", SECRET), tmp_path, {})

    with pytest.raises(CommandFailed) as failed:
        Runner(SystemClock(), redactor().text).run(command, PATIENT)

    assert failed.value.command == "/nowhere/git clone https://********@host ********"
