"""The real program, from an empty environment: garbage in any setting ends it at once, naming the setting."""

import json
import os
import signal
import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import certifi
import pytest

from appliance import cli
from appliance.config.option import Option
from appliance.config.options import OPTIONS
from appliance.exits import Exit
from tests.integration.closed_pipe import closed_pipe
from tests.unit.config_garbage import REQUIRED, refused

#: Seconds. A start that goes on takes longer: it asks a server that does not answer, again and again.
_PATIENCE_S = 60.0
#: One of each: a process of its own for every option would show the same, at the price of its start.
_STARTED = [option for option in OPTIONS if option.variable in {"RUNQY_CONCURRENCY", "RUNQY_API_KEY"}]


@dataclass(frozen=True)
class Ended:
    """How a run of the program ended; asked as a finished process is."""

    returncode: int
    stderr: str


def _program(cwd: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run ``runqy-appliance`` with nothing in its environment but PATH and what is given."""
    return subprocess.run(
        [sys.executable, "-m", "appliance", *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )


def _here(capsys: pytest.CaptureFixture[str], cwd: Path, *arguments: str, **environ: str) -> Ended:
    """What the program does after its start, in this process: all but patching and signals."""
    status = cli.execute(cli.parse(arguments), environ, cwd)
    return Ended(status, capsys.readouterr().err)


def _names_the_variable(ended: Ended | subprocess.CompletedProcess[str], option: Option) -> bool:
    garbage = refused(option)[0]
    assert ended.returncode == Exit.CONFIGURATION
    assert ended.stderr.startswith(f"configuration: 1 problem\n  {option.variable}=")
    assert (garbage in ended.stderr) == (not option.secret)
    assert option.kind.allowed in ended.stderr
    assert "Traceback" not in ended.stderr
    return "canary" not in ended.stderr


@pytest.mark.parametrize("command", ["validate", "run"])
@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.variable)
def test_garbage_in_a_variable_ends_the_command_with_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: Option, command: str
) -> None:
    ended = _here(capsys, tmp_path, command, **REQUIRED | {option.variable: refused(option)[0]})

    assert _names_the_variable(ended, option)


@pytest.mark.parametrize("command", ["validate", "run"])
@pytest.mark.parametrize("option", _STARTED, ids=lambda option: option.variable)
def test_garbage_in_a_variable_ends_the_program_with_its_name(
    tmp_path: Path, option: Option, command: str
) -> None:
    ended = _program(tmp_path, command, **REQUIRED | {option.variable: refused(option)[0]})

    assert _names_the_variable(ended, option)


def _garbage_in_the_file(folder: Path, option: Option) -> dict[str, str]:
    """Write it, and return the variables that must stand beside it."""
    section, _, key = option.path.partition(".")
    (folder / "config.yml").write_text(f"{section}:\n  {key}: {json.dumps(refused(option)[0])}\n")
    return {name: value for name, value in REQUIRED.items() if name != option.variable}


def _names_the_position(ended: Ended | subprocess.CompletedProcess[str], option: Option) -> bool:
    assert ended.returncode == Exit.CONFIGURATION
    assert ended.stderr.startswith(f"configuration: 1 problem\n  config.yml:2:3 {option.path}=")
    return (refused(option)[0] in ended.stderr) == (not option.secret)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.path)
def test_garbage_in_the_file_ends_the_command_with_its_position(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: Option
) -> None:
    ended = _here(capsys, tmp_path, **_garbage_in_the_file(tmp_path, option))

    assert _names_the_position(ended, option)


@pytest.mark.parametrize("option", _STARTED, ids=lambda option: option.path)
def test_garbage_in_the_file_ends_the_program_with_its_position(tmp_path: Path, option: Option) -> None:
    ended = _program(tmp_path, **_garbage_in_the_file(tmp_path, option))

    assert _names_the_position(ended, option)


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
        timeout=_PATIENCE_S,
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
        timeout=_PATIENCE_S,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_packages_that_are_installed_beside_it_have_no_say_in_what_is_patched(tmp_path: Path) -> None:
    (tmp_path / "meddler.py").write_text("def refuse(event): raise SystemExit('asked')\n")
    info = tmp_path / "meddler-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: meddler\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gevent.plugins.monkey.will_patch_all]\nx = meddler:refuse\n")

    def patched(how: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-c", f"{how}; import ssl; print(ssl.__name__, end='')"],
            env={"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr.strip()

    assert patched("from gevent import monkey; monkey.patch_all()") == (1, "asked")
    assert patched("from appliance import patching; assert not patching.patch()") == (0, "ssl")


# Pipes, and variables of others -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [["--help"], ["config"], ["config", "--json"], ["validate"], ["version"]], ids=" ".join
)
def test_a_reader_that_has_gone_and_a_full_device_end_a_command_without_a_traceback(
    tmp_path: Path, arguments: list[str]
) -> None:
    program = [sys.executable, "-m", "appliance", *arguments]
    env = {"PATH": os.environ["PATH"], **REQUIRED}
    piped = closed_pipe(program, tmp_path, env)
    with Path("/dev/full").open("wb") as full:
        lost = subprocess.run(
            program, cwd=tmp_path, env=env, stdout=full, stderr=subprocess.PIPE, check=False, timeout=60
        )

    assert piped == (128 + signal.SIGPIPE, b"")
    assert lost.returncode == Exit.INTERNAL
    assert lost.stderr == b"runqy-appliance: standard output: No space left on device\n"


def test_settings_that_are_wrong_have_their_status_although_nothing_can_be_said(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "appliance"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"]},
            stderr=full,
            check=False,
            timeout=60,
        )

    assert done.returncode == Exit.CONFIGURATION


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GEVENT_LOOP", "nope"),
        ("GEVENT_RESOLVER", "dnspython"),
        ("GEVENT_BACKEND", "nope"),
        ("SSLKEYLOGFILE", "/nonexistent/keys"),
    ],
)
def test_a_variable_of_gevents_or_pythons_that_cannot_work_is_named(
    tmp_path: Path, variable: str, value: str
) -> None:
    done = _program(tmp_path, "run", **REQUIRED | {variable: value})

    assert done.returncode == Exit.CONFIGURATION
    assert done.stderr.startswith(f"configuration: 1 problem\n  {variable}={value!r}: ")
    assert "Traceback" not in done.stderr


def test_an_unusable_key_log_is_not_blamed_on_certificates(tmp_path: Path) -> None:
    """Python opens that file for each context of TLS that is made."""
    key_log = {
        "SSLKEYLOGFILE": "/nonexistent/keys",
        "RUNQY_REDIS_CA_FILE": str(ssl.get_default_verify_paths().cafile or certifi.where()),
    }

    done = _program(tmp_path, "validate", **REQUIRED | key_log)

    assert "SSLKEYLOGFILE" in done.stderr
    assert "RUNQY_REDIS_CA_FILE" not in done.stderr


def test_commands_that_only_look_do_not_warn_of_how_a_worker_would_stop(tmp_path: Path) -> None:
    unreachable = {"RUNQY_SERVER_URL": "http://127.0.0.1:1", "RUNQY_BOOTSTRAP_RETRIES": "0"}
    env = {**REQUIRED, **unreachable, "RUNQY_STOP_GRACE": "1s"}

    looked = [_program(tmp_path, *line, **env) for line in (("crashes",), ("explain", "--json", "an-id"))]
    checked = _program(tmp_path, "validate", **env)

    assert [done.returncode for done in looked] == [Exit.REGISTRATION] * 2
    assert not any("RUNQY_STOP_GRACE" in done.stderr for done in looked)
    assert "RUNQY_STOP_GRACE" in checked.stderr


def test_the_base_python_is_found_with_pythonhome_set(tmp_path: Path) -> None:
    """Else environments of task code were made from the worker's own."""
    # given a Python as Debian's, by its version's name only
    home = tmp_path / "bin"
    home.mkdir()
    base = home / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    base.symlink_to(Path(getattr(sys, "_base_executable", sys.executable)).resolve())
    subprocess.run([base, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True, timeout=60)

    # when, then
    script = "from appliance.deploy.deployment import _base_python; print(_base_python().resolve())"
    ours = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    for settings in ({}, {"PYTHONHOME": sys.base_prefix}):
        found = subprocess.run(
            [tmp_path / "venv" / "bin" / "python", "-c", script],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": ours, **settings},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        assert found == f"{base.resolve()}\n", settings
