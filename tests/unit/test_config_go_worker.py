"""A configuration made for the Go worker means the same with this one, and each name of its own is noted."""

from pathlib import Path

import pytest

from appliance.config.load import Loaded, load
from appliance.config.settings import (
    BootstrapSettings,
    DeploymentSettings,
    GitSettings,
    IsolationSettings,
    RecoverySettings,
    RetrySettings,
    ServerSettings,
    Settings,
    TaskSettings,
    WorkerSettings,
)
from appliance.errors import ConfigurationError
from tests.unit.config_garbage import REQUIRED

#: Every key that the Go worker reads, with a value that is not its default.
WHOLE_FILE = """\
server:
  url: "https://server.example.com"
  api_key: "${SERVER_KEY:-key-canary-51}"
worker:
  queue: "inference"
  queues:
    - "inference"
    - "quick-start_default"
  concurrency: 8
  shutdown_timeout: "1m0s"
  ttl_completed: "48h"
  ttl_archived: "0"
  pending_timeout: 10m
  active_timeout: "90s"
  completed_task_ttl: "48h"
  lease_extend_interval: 10s
bootstrap:
  retries: 5
  retry_delay: "10s"
git:
  ssh_key: "id_rsa"
  token: "git-token"
deployment:
  dir: "./code"
  use_system_site_packages: false
retry:
  max_retry: 10
recovery:
  enabled: true
  max_restarts: 8
  initial_delay: "3s"
  max_delay: "15m"
  backoff_factor: 1.5
  cooldown_period: "30m"
"""


def _load(cwd: Path, worker: str = "", **environ: str) -> Loaded:
    (cwd / "config.yml").write_text(f"worker: {worker}\n")
    return load(REQUIRED | environ, None, cwd)


def _problems(cwd: Path, worker: str = "", **environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        _load(cwd, worker, **environ)
    return caught.value.problems


def test_a_whole_file_of_the_go_worker_is_understood_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "id_rsa").touch()
    (tmp_path / "config.yml").write_text(WHOLE_FILE)

    loaded = load({}, None, tmp_path)

    assert loaded.warnings == ()
    assert loaded.settings == Settings(
        ServerSettings("https://server.example.com", "key-canary-51"),
        WorkerSettings(
            ("inference", "quick-start_default"),
            concurrency=8,
            shutdown_timeout_s=60,
            lease_extend_interval_s=10,
        ),
        deployment=DeploymentSettings(Path("code"), use_system_site_packages=False),
        recovery=RecoverySettings(
            max_restarts=8, initial_delay_s=3, max_delay_s=900, backoff_factor=1.5, cooldown_period_s=1800
        ),
        bootstrap=BootstrapSettings(5, 10),
        isolation=IsolationSettings(secret_files=(tmp_path / "config.yml",)),
        git=GitSettings(tmp_path / "id_rsa", "git-token"),
        retry=RetrySettings(10, max_retry_caps=True),
        tasks=TaskSettings(172_800, True, ttl_archived_s=0, pending_timeout_s=600, active_timeout_s=90),
    )


def test_each_name_of_the_go_workers_file_is_noted_once_with_the_name_to_write(tmp_path: Path) -> None:
    (tmp_path / "id_rsa").touch()
    (tmp_path / "config.yml").write_text(WHOLE_FILE)

    assert load({}, None, tmp_path).notes == tuple(
        f"config.yml:{place} worker.{name}: understood as tasks.{proper}; write that name from now on"
        for place, name, proper in (
            ("11:3", "ttl_completed='48h'", "ttl_completed"),
            ("15:3", "completed_task_ttl='48h'", "ttl_completed"),
            ("12:3", "ttl_archived='0'", "ttl_archived"),
            ("13:3", "pending_timeout='10m'", "pending_timeout"),
            ("14:3", "active_timeout='90s'", "active_timeout"),
        )
    )


def test_the_old_variable_for_the_life_of_completed_tasks_is_understood(tmp_path: Path) -> None:
    loaded = _load(tmp_path, RUNQY_COMPLETED_TASK_TTL="2h")

    assert loaded.settings.tasks == TaskSettings(7200, ttl_completed_is_set=True)
    assert loaded.origins["tasks.ttl_completed"] == "environment RUNQY_COMPLETED_TASK_TTL"
    assert loaded.warnings == ()
    assert loaded.notes == (
        "RUNQY_COMPLETED_TASK_TTL='2h': understood as RUNQY_TTL_COMPLETED; write that name from now on",
    )


def test_the_queue_variable_that_the_go_workers_pages_name_by_mistake_is_understood(tmp_path: Path) -> None:
    without = {name: value for name, value in REQUIRED.items() if name != "RUNQY_QUEUES"}

    loaded = load(without | {"RUNQY_QUEUE": "inference"}, None, tmp_path)

    assert loaded.settings.worker.queues == ("inference",)
    assert loaded.notes == (
        "RUNQY_QUEUE='inference': understood as RUNQY_QUEUES; write that name from now on",
    )


def test_an_empty_variable_of_the_go_worker_counts_as_not_set(tmp_path: Path) -> None:
    loaded = _load(tmp_path, RUNQY_COMPLETED_TASK_TTL="", RUNQY_QUEUE="")

    assert loaded.settings.tasks == TaskSettings()
    assert loaded.notes == ()


@pytest.mark.parametrize(
    ("worker", "environ", "problem"),
    [
        pytest.param(
            "{ttl_completed: 1h, completed_task_ttl: 2h}",
            {},
            "config.yml:1:29 worker.completed_task_ttl='2h': contradicts config.yml:1:10 "
            "worker.ttl_completed='1h'; give one of them, or the same in both",
            id="two old names in the file",
        ),
        pytest.param(
            "{ttl_archived: 1h}\ntasks: {ttl_archived: 2h}",
            {},
            "config.yml:1:10 worker.ttl_archived='1h': contradicts config.yml:2:9 tasks.ttl_archived='2h'; "
            "give one of them, or the same in both",
            id="old and new name in the file",
        ),
        pytest.param(
            "",
            {"RUNQY_TTL_COMPLETED": "1h", "RUNQY_COMPLETED_TASK_TTL": "2h"},
            "RUNQY_COMPLETED_TASK_TTL='2h': contradicts RUNQY_TTL_COMPLETED='1h'; "
            "give one of them, or the same in both",
            id="old and new variable",
        ),
        pytest.param(
            "",
            {"RUNQY_QUEUES": "a", "RUNQY_QUEUE": "b"},
            "RUNQY_QUEUE='b': contradicts RUNQY_QUEUES='a'; give one of them, or the same in both",
            id="queue and queues",
        ),
    ],
)
def test_two_names_with_different_values_are_one_problem_that_names_both(
    tmp_path: Path, worker: str, environ: dict[str, str], problem: str
) -> None:
    assert _problems(tmp_path, worker, **environ) == (problem,)


def test_two_names_with_the_same_duration_written_differently_agree(tmp_path: Path) -> None:
    loaded = _load(tmp_path, "{ttl_completed: 90m, completed_task_ttl: 1h30m}")

    assert loaded.settings.tasks.ttl_completed_s == 5400


def test_a_variable_wins_over_the_go_workers_key_in_the_file(tmp_path: Path) -> None:
    loaded = _load(tmp_path, "{ttl_archived: 1h}", RUNQY_TTL_ARCHIVED="2h")

    assert loaded.settings.tasks.ttl_archived_s == 7200


def test_a_wrong_value_under_an_old_name_is_a_problem_at_that_name(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, "{completed_task_ttl: -5m}")

    assert problem.startswith("config.yml:1:10 worker.completed_task_ttl='-5m': must be 0 (kept for ever) or")


@pytest.mark.parametrize(("environ", "is_set"), [({}, False), ({"RUNQY_TTL_COMPLETED": "24h"}, True)])
def test_a_life_of_completed_tasks_that_was_set_is_told_from_the_default(
    tmp_path: Path, environ: dict[str, str], is_set: bool
) -> None:
    assert _load(tmp_path, **environ).settings.tasks == TaskSettings(86_400, ttl_completed_is_set=is_set)


def test_an_optional_value_that_is_only_an_unset_variable_is_not_set_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text('git:\n  token: "${GITHUB_TOKEN}"\n')

    loaded = load(REQUIRED, None, tmp_path)

    assert loaded.settings.git == GitSettings()
    assert loaded.warnings == (
        "config.yml:2:3 git.token: refers to GITHUB_TOKEN, which is not set: the default applies",
    )


def test_a_required_value_or_a_part_of_one_that_is_an_unset_variable_is_still_a_problem(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.yml").write_text('server: {url: "${NOPE}"}\ndeployment: {dir: "/data/${NOPE}"}\n')

    with pytest.raises(ConfigurationError) as caught:
        load({name: REQUIRED[name] for name in ("RUNQY_API_KEY", "RUNQY_QUEUES")}, None, tmp_path)

    assert len(caught.value.problems) == 2
    assert all("NOPE, which is not set" in problem for problem in caught.value.problems)


# --- how often leases are extended


@pytest.mark.parametrize(
    ("worker", "extension_s"),
    [
        (WorkerSettings(("q",)), 10),
        (WorkerSettings(("q",), lease_duration_s=120), 40),
        (WorkerSettings(("q",), lease_duration_s=120, lease_extend_interval_s=60), 60),
        (WorkerSettings(("q",), lease_duration_s=30, lease_extend_interval_s=60), 15),
    ],
)
def test_leases_are_extended_as_was_set_but_at_least_twice_in_their_life(
    worker: WorkerSettings, extension_s: float
) -> None:
    assert worker.lease_extension_s == extension_s


def test_an_interval_above_half_of_the_lease_that_was_set_is_refused(tmp_path: Path) -> None:
    assert _problems(tmp_path, RUNQY_LEASE_DURATION="40s", RUNQY_LEASE_EXTEND_INTERVAL="21s") == (
        "RUNQY_LEASE_EXTEND_INTERVAL='21s': must not exceed half of worker.lease_duration, which is 40s "
        "(environment RUNQY_LEASE_DURATION)",
    )


def test_an_interval_above_half_of_the_default_lease_is_a_warning(tmp_path: Path) -> None:
    assert _load(tmp_path, RUNQY_LEASE_EXTEND_INTERVAL="1m").warnings == (
        "RUNQY_LEASE_EXTEND_INTERVAL='1m': should not exceed half of worker.lease_duration, which is 30s "
        "(default); the smaller one applies",
    )
