"""The command line: what is understood, what is printed where, and the exit statuses."""

import importlib
import json
import sys
from itertools import zip_longest
from pathlib import Path
from types import ModuleType

import pytest
import structlog

import appliance
from appliance import cli
from appliance.cli import execute, parse
from appliance.commands.options import Options
from appliance.config.options import OPTIONS, VARIABLES
from appliance.config.settings import Settings
from appliance.errors import ConfigurationError
from appliance.exits import Exit
from appliance.masking.matcher import MASK
from tests.unit.config_garbage import REQUIRED


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("", Options("run")),
        ("run", Options("run")),
        ("validate", Options("validate")),
        ("-validate", Options("validate")),
        ("--validate", Options("validate")),
        ("validate -validate", Options("validate")),
        ("version", Options("version")),
        ("-version", Options("version")),
        ("--version", Options("version")),
        ("config", Options("config")),
        ("config --json", Options("config", as_json=True)),
        ("--json config", Options("config", as_json=True)),
        ("-config f.yml", Options("run", Path("f.yml"))),
        ("--config f.yml run", Options("run", Path("f.yml"))),
        ("run -config=f.yml", Options("run", Path("f.yml"))),
        ("-config f.yml config", Options("config", Path("f.yml"))),
        ("config -config f.yml", Options("config", Path("f.yml"))),
        ("-config validate", Options("run", Path("validate"))),
        ("-validate -config f.yml", Options("validate", Path("f.yml"))),
        ("health", Options("health")),
        ("health --live", Options("health", live=True)),
        ("health --started", Options("health", started=True)),
        ("status --json", Options("status", as_json=True)),
        ("explain some-id", Options("explain", operand="some-id")),
        ("explain --json some-id", Options("explain", as_json=True, operand="some-id")),
        ("--config f.yml explain --json some-id", Options("explain", Path("f.yml"), True, operand="some-id")),
        ("explain --config f.yml some-id", Options("explain", Path("f.yml"), operand="some-id")),
        ("explain some-id --json", Options("explain", as_json=True, operand="some-id")),
        ("-h", Options("help")),
        ("-help", Options("help")),
        ("run --help", Options("help")),
    ],
)
def test_a_command_line_is_understood(line: str, options: Options) -> None:
    assert parse(line.split()) == options


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "start",
            "unknown command 'start': must be one of run, validate, config, health, status, crashes, explain",
        ),
        ("run validate", "unrecognized arguments: validate"),
        ("-validate config", "one command at a time: config or validate"),
        ("-validate -version", "one command at a time: validate or version"),
        ("--conf f.yml", "unrecognized arguments: --conf"),
        ("-v", "unrecognized arguments: -v"),
        ("--verbose", "unrecognized arguments: --verbose"),
        ("-config", "expected one argument"),
        ("run --live", "--live belongs to the command health"),
        ("run --started", "--started belongs to the command health"),
        ("health --live --started", "argument --started: not allowed with argument --live"),
        ("--json", "--json belongs to the commands config and status and crashes and explain"),
        ("explain", "explain needs the id of a task"),
        ("explain one two", "unrecognized arguments: two"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(line.split())

    assert caught.value.code == Exit.CONFIGURATION
    assert message in capsys.readouterr().err


def test_validate_says_that_settings_are_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = execute(Options("validate"), REQUIRED | {"RUNQY_LOG_LEVL": "x"}, tmp_path)

    captured = capsys.readouterr()
    assert status == Exit.OK
    assert captured.out == "configuration: valid\n"
    assert (
        captured.err == "warning: RUNQY_LOG_LEVL: unknown variable, ignored; did you mean RUNQY_LOG_LEVEL?\n"
    )


@pytest.mark.parametrize("command", ["run", "validate", "config"])
def test_problems_are_counted_and_listed(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = REQUIRED | {"RUNQY_CONCURRENCY": "many", "RUNQY_LOG_LEVEL": "loud"}

    status = execute(Options(command), environ, tmp_path)

    captured = capsys.readouterr()
    assert status == Exit.CONFIGURATION
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "configuration: 2 problems",
        "  RUNQY_CONCURRENCY='many': must be a whole number from 1 to 10000",
        "  RUNQY_LOG_LEVEL='loud': must be one of debug, info, warning, error",
    ]


def test_missing_settings_come_with_help_and_with_the_misspelt_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {"RUNQY_SERVER_ULR": "http://h", "RUNQY_API_KEY": "k", "RUNQY_QUEUES": "q"}

    status = execute(Options("run"), environ, tmp_path)

    shown = capsys.readouterr().err
    assert status == Exit.CONFIGURATION
    assert shown.startswith("configuration: 1 problem\n")
    assert "did you mean RUNQY_SERVER_URL?" in shown
    assert "A worker needs at least RUNQY_SERVER_URL, RUNQY_API_KEY, RUNQY_QUEUES" in shown


def test_config_prints_value_and_origin_of_every_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yml").write_text("worker:\n  shutdown_timeout: 90s\n")

    status = execute(Options("config"), REQUIRED, tmp_path)

    lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    assert status == Exit.OK
    assert [line[0] for line in lines] == [option.path for option in OPTIONS]
    assert ["server.url", "http://127.0.0.1:8081", "environment RUNQY_SERVER_URL"] in lines
    assert ["worker.shutdown_timeout", "1m30s", "config.yml:2"] in lines
    assert ["worker.lease_duration", "30s", "default"] in lines


@pytest.mark.parametrize("as_json", [False, True])
def test_config_masks_secrets(as_json: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environ = REQUIRED | {"RUNQY_GIT_TOKEN": "token-canary"}

    execute(Options("config", as_json=as_json), environ, tmp_path)

    shown = capsys.readouterr().out
    assert "canary" not in shown
    assert shown.count(MASK) == 2


def test_config_as_json_keeps_the_types_of_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    execute(Options("config", as_json=True), REQUIRED | {"RUNQY_QUEUES": "a,b"}, tmp_path)

    config = json.loads(capsys.readouterr().out)
    assert config["worker.queues"] == {"value": ["a", "b"], "origin": "environment RUNQY_QUEUES"}
    assert config["worker.concurrency"] == {"value": 1, "origin": "default"}
    assert config["recovery.enabled"]["value"] is True
    assert config["recovery.max_delay"]["value"] == "5m"
    assert config["deployment.dir"]["value"] == "./deployment"
    assert config["git.token"]["value"] is None
    assert set(config) == {option.path for option in OPTIONS}


def test_help_names_every_variable_key_default_and_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = execute(Options("help"), {}, tmp_path)

    text = capsys.readouterr().out
    assert status == Exit.OK
    for name in VARIABLES:
        assert f"\n  {name}  (" in text
    for option, following in zip_longest(OPTIONS, OPTIONS[1:]):
        entry = text.partition(f"\n  {option.variable}  (")[2]
        entry = entry.partition(f"\n  {following.variable if following else 'exit statuses'}")[0]
        default = "required" if option.required else f"default {option.show(option.default)}"
        assert entry.startswith(option.path)
        assert f"[{default}" in entry
    for exit_status in Exit:
        assert f"\n  {exit_status:d}  " in text


def test_version_is_the_packages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(Options("version"), {}, tmp_path) == Exit.OK
    assert capsys.readouterr().out.startswith("runqy-appliance 0.")


def test_health_without_an_address_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yml").write_text("worker:\n  queue: a\n")

    assert execute(Options("health"), {"RUNQY_HTTP_ADDR": ""}, tmp_path) == Exit.CONFIGURATION
    assert "RUNQY_HTTP_ADDR: is not set" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["variable", "file"])
def test_health_refuses_an_address_that_is_none(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {"RUNQY_HTTP_ADDR": "8686"} if source == "variable" else {}
    (tmp_path / "config.yml").write_text("http:\n  addr: 8686\n")

    assert execute(Options("health"), environ, tmp_path) == Exit.CONFIGURATION
    shown = capsys.readouterr().err
    assert {"variable": "RUNQY_HTTP_ADDR='8686'", "file": "config.yml:2"}[source] in shown
    assert "must be host:port or :port" in shown


# --- run


def _worker(monkeypatch: pytest.MonkeyPatch, run: object) -> None:
    module = ModuleType("appliance.program")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "appliance.program", module)
    monkeypatch.setattr(appliance, "program", module, raising=False)


def test_run_hands_settings_and_warnings_to_the_worker_and_returns_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[object, ...]] = []

    def run(*arguments: object) -> int:
        calls.append(arguments)
        return Exit.REGISTRATION

    _worker(monkeypatch, run)

    status = execute(Options("run"), REQUIRED | {"RUNQY_QUEUES": "a,a"}, tmp_path)

    [(settings, warnings, notes)] = calls
    assert status == Exit.REGISTRATION
    assert isinstance(settings, Settings)
    assert settings.worker.queues == ("a",)
    assert warnings == ("RUNQY_QUEUES='a,a': names a queue twice; it is served once",)
    assert notes == ()


def test_validate_says_which_names_of_the_go_worker_it_understood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yml").write_text("worker:\n  ttl_archived: 1h\n")

    assert execute(Options("validate"), REQUIRED, tmp_path) == Exit.OK

    shown = capsys.readouterr()
    assert shown.out == "configuration: valid\n"
    assert shown.err == (
        "note: config.yml:2:3 worker.ttl_archived='1h': understood as tasks.ttl_archived; "
        "write that name from now on\n"
    )


def test_a_configuration_error_of_the_worker_has_the_same_face(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object) -> int:
        raise ConfigurationError(("RUNQY_QUEUES='x': has two servers",))

    _worker(monkeypatch, run)

    assert execute(Options("run"), REQUIRED, tmp_path) == Exit.CONFIGURATION
    assert "configuration: 1 problem\n  RUNQY_QUEUES='x': has two servers\n" in capsys.readouterr().err


def _break(*_: object) -> int:
    raise RuntimeError("wires crossed")


def test_a_defect_before_logging_is_set_up_is_a_plain_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _worker(monkeypatch, _break)
    monkeypatch.setattr(structlog, "is_configured", lambda: False)

    assert execute(Options("run"), REQUIRED, tmp_path) == Exit.INTERNAL
    assert "RuntimeError: wires crossed" in capsys.readouterr().err


def test_a_defect_goes_through_logging_once_that_is_set_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _worker(monkeypatch, _break)
    with structlog.testing.capture_logs() as logged:
        monkeypatch.setattr(structlog, "is_configured", lambda: True)
        status = execute(Options("run"), REQUIRED, tmp_path)

    assert status == Exit.INTERNAL
    assert [entry["event"] for entry in logged] == ["cli.defect"]
    assert capsys.readouterr().err == "", "the redactor sits in front of the log, not of a bare traceback"


def test_every_command_that_parses_can_be_executed() -> None:
    alone = ("run", "validate", "config", "health", "status", "crashes", "version", "-h")
    commands = {parse([name]).command for name in alone} | {parse(["explain", "id"]).command}

    assert commands == set(cli.COMMANDS)
    for module in cli.COMMANDS.values():
        assert callable(importlib.import_module(f"appliance.commands.{module}").run)
