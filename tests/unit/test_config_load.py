"""Loading: which source wins, what is a problem, what a warning, and that nothing is lost or leaked."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.config.load import Loaded, load
from appliance.config.option import Option
from appliance.config.options import OPTIONS
from appliance.config.settings import (
    DeploymentSettings,
    LogSettings,
    RetrySettings,
    ServerSettings,
    Settings,
    WorkerSettings,
)
from appliance.errors import ConfigurationError
from tests.unit.config_garbage import REQUIRED, refused

#: A file that says something of every section, in the specification's words.
FILE = """\
server:
  url: "http://file:8081"
  api_key: "file-key-canary"
worker:
  queue: "inference"
  concurrency: 4
  shutdown_timeout: 45s
deployment:
  dir: "./code"
  use_system_site_packages: false
recovery:
  enabled: false
  max_restarts: 9
  initial_delay: "2s"
  max_delay: "1m"
  backoff_factor: 3
  cooldown_period: "5m"
bootstrap:
  retries: 1
  retry_delay: 1s
retry:
  max_retry: 7
tasks:
  ttl_completed: 1h
log:
  format: json
"""


def _load(cwd: Path, file: str | None = None, **environ: str) -> Loaded:
    if file is not None:
        (cwd / "config.yml").write_text(file)
    return load(environ, None, cwd)


def _refused(cwd: Path, file: str | None = None, **environ: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        _load(cwd, file, **environ)
    return caught.value


def test_three_variables_are_all_it_takes(tmp_path: Path) -> None:
    loaded = _load(tmp_path, **REQUIRED)

    assert loaded.settings == Settings(
        ServerSettings("http://127.0.0.1:8081", "key-canary-51"), WorkerSettings(("inference",))
    )
    assert loaded.origins["server.url"] == "environment RUNQY_SERVER_URL"
    assert loaded.origins["recovery.enabled"] == "default"
    assert set(loaded.origins) == {option.path for option in OPTIONS}
    assert loaded.warnings == ()


def test_a_file_is_all_it_takes(tmp_path: Path) -> None:
    settings = _load(tmp_path, FILE).settings

    assert settings.server == ServerSettings("http://file:8081", "file-key-canary")
    assert settings.worker == WorkerSettings(("inference",), concurrency=4, shutdown_timeout_s=45)
    assert settings.deployment == DeploymentSettings(Path("code"), use_system_site_packages=False)
    assert not settings.recovery.enabled
    assert settings.recovery.backoff_factor == 3
    assert settings.bootstrap.retries == 1
    assert settings.tasks.ttl_completed_s == 3600
    assert settings.log == LogSettings(format="json")


def test_variables_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    loaded = _load(tmp_path, FILE, RUNQY_CONCURRENCY="8", RUNQY_QUEUES="b.x,b.y")

    assert loaded.settings.worker.concurrency == 8
    assert loaded.settings.worker.queues == ("b.x", "b.y")
    assert loaded.settings.worker.shutdown_timeout_s == 45
    assert loaded.settings.worker.lease_duration_s == 30
    assert loaded.origins["worker.concurrency"] == "environment RUNQY_CONCURRENCY"
    assert loaded.origins["worker.shutdown_timeout"] == "config.yml:7"
    assert loaded.origins["worker.lease_duration"] == "default"
    assert loaded.warnings == ()


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    empty = {option.variable: "" for option in OPTIONS} | {
        "RUNQY_API_KEY_FILE": "",
        "RUNQY_GIT_TOKEN_FILE": "",
    }

    assert _load(tmp_path, FILE, **empty).settings == _load(tmp_path, FILE).settings
    assert "RUNQY_API_KEY: is required" in str(_refused(tmp_path, "", **empty))


@pytest.mark.parametrize(
    ("source", "policy"),
    [
        ({}, RetrySettings()),
        ({"RUNQY_MAX_RETRY": "3"}, RetrySettings(max_retry_caps=True)),
        ({"RUNQY_MAX_RETRY": ""}, RetrySettings()),
        ({"RUNQY_RETRY_POLICY": "always"}, RetrySettings(policy="always")),
    ],
)
def test_the_retry_count_caps_only_where_it_was_set(
    tmp_path: Path, source: dict[str, str], policy: RetrySettings
) -> None:
    assert _load(tmp_path, **REQUIRED, **source).settings.retry == policy


def test_the_retry_count_of_the_file_caps_too(tmp_path: Path) -> None:
    assert _load(tmp_path, FILE).settings.retry == RetrySettings(max_retry=7, max_retry_caps=True)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        pytest.param(option, text, id=f"{option.path}={text[:20]!r}")
        for option in OPTIONS
        for text in refused(option)
    ],
)
def test_garbage_in_a_variable_is_one_problem_that_names_it(
    tmp_path: Path, option: Option, text: str
) -> None:
    error = _refused(tmp_path, **REQUIRED | {option.variable: text})

    assert len(error.problems) == 1
    shown = option.show_raw(text)
    assert error.problems[0].startswith(f"{option.variable}={shown}: must be {option.kind.allowed}")
    assert error.problems[0].isprintable()
    if option.secret:
        assert text not in error.problems[0]


@pytest.mark.parametrize(
    ("option", "path", "text"),
    [
        pytest.param(option, path, text, id=f"{path}={text[:20]!r}")
        for option in OPTIONS
        for path in (option.path, *option.aliases)
        for text in refused(option)
    ],
)
def test_garbage_in_the_file_is_one_problem_that_names_its_position(
    tmp_path: Path, option: Option, path: str, text: str
) -> None:
    section, _, key = path.partition(".")
    written = json.dumps(text)  # YAML understands a JSON string
    required = {name: value for name, value in REQUIRED.items() if name != option.variable}

    error = _refused(tmp_path, f"# a comment\n{section}:\n    {key}: {written}\n", **required)

    assert len(error.problems) == 1
    shown = option.show_raw(text)
    assert error.problems[0].startswith(f"config.yml:3:5 {path}={shown}: must be {option.kind.allowed}")
    if option.secret:
        assert text not in error.problems[0]


@pytest.mark.parametrize(
    "option",
    [option for option in OPTIONS if option.path not in ("worker.queues", "isolation.task_paths")],
    ids=lambda o: o.path,
)
def test_a_list_where_one_value_belongs_is_refused(tmp_path: Path, option: Option) -> None:
    section, _, key = option.path.partition(".")
    required = {name: value for name, value in REQUIRED.items() if name != option.variable}

    error = _refused(tmp_path, f"{section}: {{{key}: [canary]}}", **required)

    assert "expected a single value, got a list" in error.problems[0]
    assert ("canary" in error.problems[0]) == (not option.secret)


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    error = _refused(
        tmp_path,
        "worker:\n  concurrency: none\nlog:\n  level: loud\n  level: louder\n",
        RUNQY_SHUTDOWN_TIMEOUT="30",
        RUNQY_QUEUES="a b",
        RUNQY_API_KY="x",
    )

    assert [problem.partition("=")[0].partition(": is")[0] for problem in error.problems] == [
        "config.yml:5:3 log.level",
        "RUNQY_SERVER_URL",
        "RUNQY_API_KEY",
        "RUNQY_QUEUES",
        "config.yml:2:3 worker.concurrency",
        "RUNQY_SHUTDOWN_TIMEOUT",
        "config.yml:4:3 log.level",
    ]
    assert error.warnings == ("RUNQY_API_KY: unknown variable, ignored; did you mean RUNQY_API_KEY?",)


def test_a_bare_number_is_no_duration_in_either_source(tmp_path: Path) -> None:
    error = _refused(tmp_path, "recovery: {max_delay: 300}", **REQUIRED, RUNQY_SHUTDOWN_TIMEOUT="30")

    assert "add one, e.g. 30s" in error.problems[0]
    assert "add one, e.g. 300s" in error.problems[1]


@pytest.mark.parametrize("name", ["RUNQY_FOO_BAR", "RUNQY_", "runqy_queues", "RUNQY_GIT_SSH_KEY_FILE"])
def test_an_unknown_variable_is_a_warning(tmp_path: Path, name: str) -> None:
    warnings = _load(tmp_path, **REQUIRED, **{name: "canary"}).warnings

    assert len(warnings) == 1
    assert warnings[0].startswith(f"{name}: unknown variable")
    assert "canary" not in warnings[0]


def test_variables_of_others_are_none_of_our_business(tmp_path: Path) -> None:
    assert _load(tmp_path, **REQUIRED, PATH="/bin", MY_RUNQY_X="1", RUNQYX="1").warnings == ()


def test_a_wrong_value_in_the_file_that_a_variable_overrides_is_a_warning(tmp_path: Path) -> None:
    loaded = _load(
        tmp_path, "log: {level: loud}\nserver: {api_key: '${NOPE}'}", **REQUIRED, RUNQY_LOG_LEVEL="error"
    )

    assert loaded.settings.log.level == "error"
    assert sorted(warning.rpartition("; ")[2] for warning in loaded.warnings) == [
        "not used, environment RUNQY_API_KEY wins",
        "not used, environment RUNQY_LOG_LEVEL wins",
    ]


# --- queues


def test_duplicate_queues_are_dropped_with_a_warning(tmp_path: Path) -> None:
    loaded = _load(tmp_path, **REQUIRED | {"RUNQY_QUEUES": "b, a ,b"})

    assert loaded.settings.worker.queues == ("b", "a")
    assert loaded.warnings == ("RUNQY_QUEUES='b, a ,b': names a queue twice; it is served once",)


@pytest.mark.parametrize(
    ("worker", "queues"),
    [
        ("{queue: a}", ("a",)),
        ("{queues: a}", ("a",)),
        ("{queues: 'a, b'}", ("a", "b")),
        ("{queues: [a, b.x]}", ("a", "b.x")),
        ("{queue: [a, b]}", ("a", "b")),
        ("{queue: a, queues: [b, a]}", ("b", "a")),
        ("{queue: [b, a], queues: a}", ("b", "a")),
        ("{queue: a, queues: a}", ("a",)),
        ("{queue: '', queues: a}", ("a",)),
        ("{queue: no}", ("no",)),
        ("{queue: 1}", ("1",)),
    ],
)
def test_queue_and_queues_are_both_understood(tmp_path: Path, worker: str, queues: tuple[str, ...]) -> None:
    required = {name: value for name, value in REQUIRED.items() if name != "RUNQY_QUEUES"}

    assert _load(tmp_path, f"worker: {worker}", **required).settings.worker.queues == queues


@pytest.mark.parametrize(
    ("worker", "problem"),
    [
        (
            "{queue: a, queues: [b, c]}",
            "worker.queue='a': contradicts config.yml:1:20 worker.queues=['b', 'c']",
        ),
        ("{queue: a b, queues: [a]}", "worker.queue='a b': must be queue names"),
        ("{queue: a, queues: ['${NOPE}']}", "worker.queues: must be queue names"),
        ("{queues: []}", "worker.queues=[]: must be queue names"),
        ("{queues: ['a,b']}", "worker.queues=['a,b']: must be queue names"),
        ("{queues: [a, ~]}", "worker.queues=['a', '']: must be queue names"),
    ],
)
def test_contradicting_or_wrong_queues_of_the_file_are_refused(
    tmp_path: Path, worker: str, problem: str
) -> None:
    required = {name: value for name, value in REQUIRED.items() if name != "RUNQY_QUEUES"}

    error = _refused(tmp_path, f"worker: {worker}", **required)

    assert len(error.problems) == 1
    assert problem in error.problems[0]


# --- options that depend on each other


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        (
            {"RUNQY_RECOVERY_INITIAL_DELAY": "10m", "RUNQY_RECOVERY_MAX_DELAY": "5m"},
            "RUNQY_RECOVERY_INITIAL_DELAY='10m': must not exceed recovery.max_delay, which is 5m "
            "(environment RUNQY_RECOVERY_MAX_DELAY)",
        ),
        (
            {"RUNQY_RETRY_BASE_DELAY": "3s", "RUNQY_RETRY_MAX_DELAY": "2s"},
            "RUNQY_RETRY_BASE_DELAY='3s': must not exceed retry.max_delay, which is 2s "
            "(environment RUNQY_RETRY_MAX_DELAY)",
        ),
    ],
)
def test_a_first_delay_above_the_longest_is_refused(
    tmp_path: Path, environ: dict[str, str], problem: str
) -> None:
    assert _refused(tmp_path, **REQUIRED, **environ).problems == (problem,)


@pytest.mark.parametrize(
    ("environ", "warning"),
    [
        (
            {"RUNQY_RECOVERY_INITIAL_DELAY": "10m"},
            "RUNQY_RECOVERY_INITIAL_DELAY='10m': should not exceed recovery.max_delay, which is 5m "
            "(default); the smaller one applies",
        ),
        (
            {"RUNQY_RECOVERY_MAX_DELAY": "500ms"},
            "RUNQY_RECOVERY_MAX_DELAY='500ms': should reach recovery.initial_delay, which is 1s (default); "
            "the smaller one applies",
        ),
    ],
)
def test_a_first_delay_above_a_longest_that_is_only_the_default_is_a_warning(
    tmp_path: Path, environ: dict[str, str], warning: str
) -> None:
    assert load({**REQUIRED, **environ}, None, tmp_path).warnings == (warning,)


def test_delays_are_not_compared_when_one_of_them_is_wrong(tmp_path: Path) -> None:
    environ = {"RUNQY_RECOVERY_INITIAL_DELAY": "10m", "RUNQY_RECOVERY_MAX_DELAY": "x"}

    assert len(_refused(tmp_path, **REQUIRED, **environ).problems) == 1


# --- files


def test_a_named_file_is_read_relative_to_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "my.yaml").write_text(FILE)
    (tmp_path / "config.yml").write_text("not: used")

    loaded = load({}, Path("sub/my.yaml"), tmp_path)

    assert loaded.origins["server.url"] == "sub/my.yaml:2"
    assert loaded.warnings == ()


def test_a_named_file_that_is_missing_is_the_only_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({}, Path("no.yml"), tmp_path)

    assert caught.value.problems == ("no.yml: cannot be read: No such file or directory",)


def test_a_folder_in_place_of_the_default_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "config.yml").mkdir()

    assert _refused(tmp_path, **REQUIRED).problems == ("config.yml: cannot be read: Is a directory",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe", "Not UTF-8 text"),
        (b"#" * 70_000, "Larger than 64 KiB"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "config.yml").write_bytes(content)

    assert _refused(tmp_path).problems == (f"config.yml: cannot be read: {reason}",)


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_bytes(b"\xef\xbb\xbf" + FILE.encode())

    assert load({}, None, tmp_path).settings.worker.concurrency == 4


def test_an_endless_file_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Not a regular file"):
        load(REQUIRED, Path("/dev/zero"), tmp_path)


# --- secrets in files


@pytest.mark.parametrize(
    "content", ["file-key-canary", "file-key-canary\n", "file-key-canary\r\n", "file-key-canary\n\n"]
)
def test_a_secret_is_read_from_its_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_bytes(content.encode())
    required = REQUIRED | {"RUNQY_API_KEY": "", "RUNQY_API_KEY_FILE": "key"}

    loaded = _load(tmp_path, **required)

    assert loaded.settings.server.api_key == "file-key-canary"
    assert loaded.origins["server.api_key"] == "environment RUNQY_API_KEY_FILE"


def test_the_git_token_is_read_from_its_file_and_wins_over_the_configuration_file(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("token-canary")

    loaded = _load(tmp_path, "git: {token: other}", **REQUIRED, RUNQY_GIT_TOKEN_FILE=str(token))

    assert loaded.settings.git.token == "token-canary"


def test_a_secret_and_its_file_at_once_are_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("file-key-canary")

    error = _refused(tmp_path, **REQUIRED, RUNQY_API_KEY_FILE="key")

    assert error.problems == (
        "RUNQY_API_KEY_FILE='key': is set as well as RUNQY_API_KEY; set only one of them",
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "RUNQY_API_KEY_FILE='key': is empty"),
        (b"\n", "RUNQY_API_KEY_FILE='key': is empty"),
        (b"canary\ncanary", "content of RUNQY_API_KEY_FILE='key': must be up to 8192 visible ASCII"),
        (b" canary", "content of RUNQY_API_KEY_FILE='key': must be up to 8192 visible ASCII"),
        (b"canary\xff", "RUNQY_API_KEY_FILE='key': cannot be read: Not UTF-8 text"),
        (b"canary" * 20_000, "RUNQY_API_KEY_FILE='key': cannot be read: Larger than 64 KiB"),
        (None, "RUNQY_API_KEY_FILE='key': cannot be read: No such file or directory"),
    ],
)
def test_a_secret_file_that_holds_no_secret_is_refused_without_showing_it(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)

    error = _refused(tmp_path, **REQUIRED | {"RUNQY_API_KEY": "", "RUNQY_API_KEY_FILE": "key"})

    assert len(error.problems) == 1
    assert error.problems[0].startswith(problem)
    assert "canary" not in error.problems[0]


def test_settings_do_not_show_their_secrets(tmp_path: Path) -> None:
    loaded = _load(tmp_path, FILE, RUNQY_GIT_TOKEN="token-canary")

    assert "canary" not in repr(loaded)


# --- paths


def test_a_relative_ssh_key_becomes_absolute_because_git_runs_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("key")

    assert _load(tmp_path, **REQUIRED, RUNQY_GIT_SSH_KEY="id").settings.git.ssh_key == tmp_path / "id"


def test_a_deployment_folder_may_be_missing_as_long_as_it_can_be_made(tmp_path: Path) -> None:
    settings = _load(tmp_path, **REQUIRED, RUNQY_DEPLOYMENT_DIR="a/b/c").settings

    assert settings.deployment == replace(DeploymentSettings(), dir=Path("a/b/c"))
    assert list(tmp_path.iterdir()) == [], "looking must not create it"


def test_a_missing_ssh_key_is_refused(tmp_path: Path) -> None:
    error = _refused(tmp_path, **REQUIRED, RUNQY_GIT_SSH_KEY="id")

    assert error.problems == ("RUNQY_GIT_SSH_KEY='id': must be a readable file (No such file or directory)",)
