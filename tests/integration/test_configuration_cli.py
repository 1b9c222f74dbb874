"""The real program, from an empty environment: garbage in any setting ends it at once, naming the setting."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from appliance.config.options import OPTIONS, Option
from appliance.exits import Exit
from tests.unit.config_garbage import REQUIRED, refused

#: The bound on ending because of a setting, in seconds.
_AT_ONCE_S = 2.0


def _program(cwd: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run ``runqy-appliance`` with nothing in its environment but PATH and what is given."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "appliance", *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert time.monotonic() - begun < _AT_ONCE_S
    return done


@pytest.mark.parametrize("command", ["validate", "run"])
@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.variable)
def test_garbage_in_a_variable_ends_the_program_with_its_name(
    tmp_path: Path, option: Option, command: str
) -> None:
    garbage = refused(option)[0]

    done = _program(tmp_path, command, **REQUIRED | {option.variable: garbage})

    assert done.returncode == Exit.CONFIGURATION
    assert done.stderr.startswith(f"configuration: 1 problem\n  {option.variable}=")
    assert (garbage in done.stderr) == (not option.secret)
    assert option.kind.allowed in done.stderr
    assert "Traceback" not in done.stderr
    assert "canary" not in done.stderr


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.path)
def test_garbage_in_the_file_ends_the_program_with_its_position(tmp_path: Path, option: Option) -> None:
    section, _, key = option.path.partition(".")
    garbage = refused(option)[0]
    (tmp_path / "config.yml").write_text(f"{section}:\n  {key}: {json.dumps(garbage)}\n")
    required = {name: value for name, value in REQUIRED.items() if name != option.variable}

    done = _program(tmp_path, **required)

    assert done.returncode == Exit.CONFIGURATION
    assert done.stderr.startswith(f"configuration: 1 problem\n  config.yml:2:3 {option.path}=")
    assert (garbage in done.stderr) == (not option.secret)


@pytest.mark.parametrize("variable", ["RUNQY_API_KEY", "RUNQY_GIT_TOKEN"])
def test_a_secret_file_that_is_not_there_ends_the_program_with_its_name(
    tmp_path: Path, variable: str
) -> None:
    required = {name: value for name, value in REQUIRED.items() if name != variable}

    done = _program(tmp_path, **required | {f"{variable}_FILE": "/nowhere/key"})

    assert done.returncode == Exit.CONFIGURATION
    assert f"{variable}_FILE='/nowhere/key': cannot be read: No such file or directory" in done.stderr


def test_a_pipe_without_a_writer_in_place_of_a_secret_file_does_not_hang_the_program(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key")

    done = _program(tmp_path, **REQUIRED | {"RUNQY_API_KEY": "", "RUNQY_API_KEY_FILE": "key"})

    assert done.returncode == Exit.CONFIGURATION
    assert "RUNQY_API_KEY_FILE='key': cannot be read: Not a regular file" in done.stderr


def test_an_empty_environment_says_what_to_set(tmp_path: Path) -> None:
    done = _program(tmp_path)

    assert done.returncode == Exit.CONFIGURATION
    assert done.stderr.startswith("configuration: 3 problems\n  RUNQY_SERVER_URL: is required")
    assert "A worker needs at least" in done.stderr


def test_a_variable_that_is_not_utf8_ends_the_program_with_its_name(tmp_path: Path) -> None:
    done = _program(tmp_path, **REQUIRED | {"RUNQY_INSTANCE_ID": "\udcff"})

    assert done.returncode == Exit.CONFIGURATION
    assert "RUNQY_INSTANCE_ID='\\udcff': must be" in done.stderr


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "xx_XX.nonsense"])
def test_the_locale_changes_nothing(tmp_path: Path, locale: str) -> None:
    done = _program(tmp_path, "validate", **REQUIRED | {"LC_ALL": locale, "RUNQY_LOG_LEVEL": "l\u00e4ut"})

    assert done.returncode == Exit.CONFIGURATION
    assert "RUNQY_LOG_LEVEL=" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [("-vali",), ("start",), ("--config",), ("run", "now")])
def test_a_command_line_that_makes_no_sense_ends_the_program(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = _program(tmp_path, *arguments, **REQUIRED)

    assert done.returncode == Exit.CONFIGURATION
    assert done.stderr.startswith("usage: runqy-appliance")


@pytest.mark.parametrize("arguments", [("validate",), ("config",), ("version",), ("--help",), ("-validate",)])
def test_a_small_command_succeeds_without_loading_the_worker(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    script = (
        "import sys, appliance.__main__ as program\n"
        "sys.argv = ['x', *sys.argv[1:]]\n"
        "status = program.main()\n"
        "heavy = {'gevent', 'redis', 'httpx', 'structlog', 'google.protobuf'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else status)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **REQUIRED},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_parsing_the_command_line_imports_nothing_that_gevent_would_have_to_patch() -> None:
    script = (
        "import sys\n"
        "from appliance import __main__, cli\n"
        "cli.parse(['run', '-config', 'x'])\n"
        "late = {'threading', 'socket', 'ssl', 'subprocess', 'selectors', 'queue', 'logging'}\n"
        "sys.exit(' '.join(late & set(sys.modules)) or 0)\n"
    )

    # Isolated from the site: an editable install imports things of its own there.
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        cwd=Path(__file__).parents[2],
        env={},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
