"""The table of options holds the specification, and fits the settings it fills."""

from dataclasses import fields

import pytest

from appliance.config.option import SECTIONS, Option
from appliance.config.options import OPTION_OF_PATH, OPTIONS, VARIABLES, did_you_mean

#: Copied by hand from the specification: variable, default as it is written there ("-" is none).
SPECIFIED_VARIABLES = [
    ("RUNQY_SERVER_URL", "-"),
    ("RUNQY_API_KEY", "-"),
    ("RUNQY_QUEUES", "-"),
    ("RUNQY_CONCURRENCY", "1"),
    ("RUNQY_SHUTDOWN_TIMEOUT", "30s"),
    ("RUNQY_BOOTSTRAP_RETRIES", "3"),
    ("RUNQY_BOOTSTRAP_RETRY_DELAY", "5s"),
    ("RUNQY_GIT_SSH_KEY", "-"),
    ("RUNQY_GIT_TOKEN", "-"),
    ("RUNQY_DEPLOYMENT_DIR", "./deployment"),
    ("RUNQY_USE_SYSTEM_SITE_PACKAGES", "true"),
    ("RUNQY_MAX_RETRY", "3"),
    ("RUNQY_RECOVERY_ENABLED", "true"),
    ("RUNQY_RECOVERY_MAX_RESTARTS", "5"),
    ("RUNQY_RECOVERY_INITIAL_DELAY", "1s"),
    ("RUNQY_RECOVERY_MAX_DELAY", "5m"),
    ("RUNQY_RECOVERY_COOLDOWN", "10m"),
]

#: The same of what this worker has beside the specification.
OWN_VARIABLES = [
    ("RUNQY_RECOVERY_BACKOFF_FACTOR", "2.0"),
    ("RUNQY_TTL_COMPLETED", "24h"),
    ("RUNQY_TTL_ARCHIVED", "72h"),
    ("RUNQY_PENDING_TIMEOUT", "0"),
    ("RUNQY_ACTIVE_TIMEOUT", "0"),
    ("RUNQY_MAX_PAYLOAD", "512MiB"),
    ("RUNQY_MAX_RESULT", "64MiB"),
    ("RUNQY_QUEUE_STRATEGY", "strict"),
    ("RUNQY_LEASE_DURATION", "30s"),
    ("RUNQY_LEASE_EXTEND_INTERVAL", "-"),
    ("RUNQY_STOP_GRACE", "-"),
    ("RUNQY_DEPLOYMENT_BAKED", "-"),
    ("RUNQY_INSTALLER", "auto"),
    ("RUNQY_INSTANCE_ID", "-"),
    ("RUNQY_STATE_DIR", "-"),
    ("RUNQY_PREVIOUS_API_KEY", "-"),
    ("RUNQY_REDIS_USERNAME", "-"),
    ("RUNQY_REDIS_CA_FILE", "-"),
    ("RUNQY_REDIS_CERT_FILE", "-"),
    ("RUNQY_REDIS_KEY_FILE", "-"),
    ("RUNQY_REDIS_SENTINELS", "-"),
    ("RUNQY_REDIS_SENTINEL_MASTER", "-"),
    ("RUNQY_REDIS_SENTINEL_USERNAME", "-"),
    ("RUNQY_REDIS_SENTINEL_PASSWORD", "-"),
    ("RUNQY_REDIS_CLUSTER", "false"),
    ("RUNQY_REDIS_ASK_SERVER_AFTER", "30s"),
    ("RUNQY_HTTP_ADDR", "-"),
    ("RUNQY_OTLP_ENDPOINT", "-"),
    ("RUNQY_OTLP_HEADERS", "-"),
    ("RUNQY_OTLP_INTERVAL", "1m"),
    ("RUNQY_SENTRY_DSN", "-"),
    ("RUNQY_LOG_LEVEL", "info"),
    ("RUNQY_LOG_FORMAT", "text"),
    ("RUNQY_RETRY_BASE_DELAY", "10s"),
    ("RUNQY_RETRY_MAX_DELAY", "24h"),
    ("RUNQY_RETRY_POLICY", "flag"),
    ("RUNQY_DEGRADED_POLICY", "requeue"),
    ("RUNQY_PROCESS_STOP_GRACE", "5s"),
    ("RUNQY_MAX_TASKS_PER_CHILD", "0"),
    ("RUNQY_MAX_CHILD_MEMORY", "0"),
    ("RUNQY_VAULT_ALLOW_UNSAFE", "false"),
    ("RUNQY_ISOLATION", "auto"),
    ("RUNQY_GIT_TOKEN_HOSTS", "-"),
    ("RUNQY_TASK_PATHS", "-"),
]

#: The specification's file: path, default ("-" is none or required), variable that means the same.
SPECIFIED_PATHS = [
    ("server.url", "-", "RUNQY_SERVER_URL"),
    ("server.api_key", "-", "RUNQY_API_KEY"),
    ("worker.queue", "-", "RUNQY_QUEUES"),
    ("worker.concurrency", "1", "RUNQY_CONCURRENCY"),
    ("worker.shutdown_timeout", "30s", "RUNQY_SHUTDOWN_TIMEOUT"),
    ("deployment.dir", "./deployment", "RUNQY_DEPLOYMENT_DIR"),
    ("deployment.use_system_site_packages", "true", "RUNQY_USE_SYSTEM_SITE_PACKAGES"),
    ("recovery.enabled", "true", "RUNQY_RECOVERY_ENABLED"),
    ("recovery.max_restarts", "5", "RUNQY_RECOVERY_MAX_RESTARTS"),
    ("recovery.initial_delay", "1s", "RUNQY_RECOVERY_INITIAL_DELAY"),
    ("recovery.max_delay", "5m", "RUNQY_RECOVERY_MAX_DELAY"),
    ("recovery.backoff_factor", "2.0", "RUNQY_RECOVERY_BACKOFF_FACTOR"),
    ("recovery.cooldown_period", "10m", "RUNQY_RECOVERY_COOLDOWN"),
]


def _by_variable(variable: str) -> Option:
    return next(option for option in OPTIONS if option.variable == variable)


@pytest.mark.parametrize(("variable", "default"), SPECIFIED_VARIABLES + OWN_VARIABLES)
def test_a_specified_variable_exists_with_its_default(variable: str, default: str) -> None:
    option = _by_variable(variable)

    if default == "-":
        assert option.default is None
    else:
        assert option.default == option.parse(default)
        assert option.show(option.default) == default


@pytest.mark.parametrize(("path", "default", "variable"), SPECIFIED_PATHS)
def test_a_specified_key_of_the_file_exists_with_its_default(path: str, default: str, variable: str) -> None:
    option = OPTION_OF_PATH[path]

    assert option.variable == variable
    assert option.default == (None if default == "-" else option.parse(default))


def test_there_are_no_options_beside_the_listed_ones() -> None:
    listed = {variable for variable, _ in SPECIFIED_VARIABLES + OWN_VARIABLES}

    assert {option.variable for option in OPTIONS} == listed
    assert set(VARIABLES) - listed == {
        "RUNQY_API_KEY_FILE",
        "RUNQY_PREVIOUS_API_KEY_FILE",
        "RUNQY_GIT_TOKEN_FILE",
        "RUNQY_OTLP_HEADERS_FILE",
        "RUNQY_SENTRY_DSN_FILE",
        "RUNQY_REDIS_SENTINEL_PASSWORD_FILE",
        "RUNQY_QUEUE",
        "RUNQY_COMPLETED_TASK_TTL",
    }


def test_server_key_and_queues_are_all_that_is_required() -> None:
    required = {option.path for option in OPTIONS if option.required}

    assert required == {"server.url", "server.api_key", "worker.queues"}


def test_every_field_of_the_settings_is_filled_by_exactly_one_option() -> None:
    filled = sorted((option.section, option.field) for option in OPTIONS)
    existing = sorted(
        (section, field.name) for section, settings in SECTIONS.items() for field in fields(settings)
    )

    derived = [
        ("isolation", "secret_files"),
        ("retry", "max_retry_caps"),
        ("tasks", "ttl_completed_is_set"),
    ]
    assert sorted([*filled, *derived]) == existing


def test_names_are_unique() -> None:
    assert len(VARIABLES) == len(set(VARIABLES))
    assert len(OPTION_OF_PATH) == sum(len(option.paths) for option in OPTIONS)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("RUNQY_API_KY", "RUNQY_API_KEY"),
        ("RUNQY_QUEUS", "RUNQY_QUEUES"),
        ("RUNQY_RECOVERY_COOLDOWN_PERIOD", "RUNQY_RECOVERY_COOLDOWN"),
    ],
)
def test_the_nearest_name_is_suggested(name: str, near: str) -> None:
    assert did_you_mean(name, VARIABLES) == f"; did you mean {near}?"


def test_a_key_in_the_wrong_section_is_pointed_to_the_right_one() -> None:
    assert did_you_mean("worker.api_key", tuple(OPTION_OF_PATH)) == "; did you mean server.api_key?"


def test_nothing_is_suggested_where_nothing_is_near() -> None:
    assert did_you_mean("RUNQY_ZZZZZZZZZZZZZZZZ", VARIABLES) == ""
