"""What a task process is started with: never our credentials, always its vaults."""

import os
from pathlib import Path

import pytest

from appliance.config.options import OPTIONS
from appliance.errors import ProcessError
from appliance.process.environ import build_argv, build_environment

VENV = Path("/code/.venv")
PYTHON = VENV / "bin" / "python"


@pytest.mark.parametrize(
    "name",
    [
        "RUNQY_API_KEY",
        "RUNQY_API_KEY_FILE",
        "RUNQY_GIT_TOKEN",
        "RUNQY_GIT_TOKEN_FILE",
        "RUNQY_GIT_SSH_KEY",
        "RUNQY_REDIS_PASSWORD",
        "RUNQY_REDIS_URL",
        "RUNQY_SOME_SECRET_OF_LATER",
        "RUNQY_ADMIN_PASSWORD_FILE",
    ],
)
def test_no_credential_of_ours_reaches_the_process(name: str) -> None:
    env, _ = build_environment({name: "canary", "RUNQY_QUEUES": "inference", "HOME": "/home/me"}, VENV, {})

    assert "canary" not in env.values()
    assert env["RUNQY_QUEUES"] == "inference"
    assert env["HOME"] == "/home/me"


def test_every_secret_setting_is_held_back() -> None:
    secrets = [option.variable for option in OPTIONS if option.secret]
    assert "RUNQY_API_KEY" in secrets

    env, _ = build_environment(dict.fromkeys(secrets, "canary"), VENV, {})

    assert "canary" not in env.values()


def test_the_environment_of_the_worker_stays_as_it_was() -> None:
    inherited = {"RUNQY_API_KEY": "canary", "PATH": "/usr/bin"}

    build_environment(inherited, VENV, {"TOKEN": "x"})

    assert inherited == {"RUNQY_API_KEY": "canary", "PATH": "/usr/bin"}


def test_the_virtual_environment_comes_first() -> None:
    inherited = {"PATH": "/opt/worker/bin:/usr/bin", "VIRTUAL_ENV": "/opt/worker", "PYTHONHOME": "/opt"}

    env, _ = build_environment(inherited, VENV, {})

    assert env["PATH"] == "/code/.venv/bin:/opt/worker/bin:/usr/bin"
    assert env["VIRTUAL_ENV"] == "/code/.venv"
    assert env["PYTHONUNBUFFERED"] == "1"
    assert "PYTHONHOME" not in env


@pytest.mark.parametrize("inherited", [{}, {"PATH": ""}], ids=["no PATH", "an empty PATH"])
def test_without_an_inherited_path_the_systems_default_follows(inherited: dict[str, str]) -> None:
    env, _ = build_environment(inherited, VENV, {})

    assert env["PATH"] == f"/code/.venv/bin:{os.defpath}"


@pytest.mark.parametrize(
    "value", ["", "plain", "two\nlines\n", "a=b=c", "ünï🙂", " spaces "], ids=["empty", *"abcde"]
)
def test_a_vault_value_arrives_as_it_is_and_wins_over_an_inherited_one(value: str) -> None:
    env, warnings = build_environment({"OPENAI_API_KEY": "inherited"}, VENV, {"OPENAI_API_KEY": value})

    assert env["OPENAI_API_KEY"] == value
    assert warnings == []


UNSAFE = [
    "PATH",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "ld_preload",
    "DYLD_INSERT_LIBRARIES",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "BASH_ENV",
    "ENV",
    "IFS",
    "BASH_FUNC_ls%%",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "RUNQY_API_KEY",
    "RUNQY_GIT_TOKEN",
]


@pytest.mark.parametrize("name", UNSAFE)
def test_a_dangerous_vault_name_is_refused_with_a_line_that_names_it_and_hides_its_value(name: str) -> None:
    env, warnings = build_environment({"PATH": "/usr/bin"}, VENV, {name: "canary", "GOOD": "yes"})

    assert "canary" not in env.values()
    assert env["GOOD"] == "yes"
    (warning,) = warnings
    assert repr(name) in warning
    assert "RUNQY_VAULT_ALLOW_UNSAFE=true" in warning
    assert "canary" not in warning


@pytest.mark.parametrize("name", UNSAFE)
def test_a_dangerous_vault_name_is_set_where_that_is_allowed(name: str) -> None:
    env, warnings = build_environment({}, VENV, {name: "wanted"}, allow_unsafe=True)

    assert env[name] == "wanted"
    assert warnings == []


@pytest.mark.parametrize("name", ["MY_PATH", "PATHS", "OLD_PRELOAD", "MY_PYTHON", "ENVIRONMENT", "HF_TOKEN"])
def test_a_name_that_only_looks_dangerous_is_set(name: str) -> None:
    env, warnings = build_environment({}, VENV, {name: "value"})

    assert env[name] == "value"
    assert warnings == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "canary"),
        ("A=B", "canary"),
        ("A\0", "canary"),
        ("\ud800", "canary"),
        ("A", "canary\0"),
        ("A", "canary\ud800"),
    ],
    ids=["empty name", "=", "NUL in name", "surrogate in name", "NUL in value", "surrogate in value"],
)
def test_what_no_environment_can_hold_is_refused_even_where_unsafe_names_are_allowed(
    name: str, value: str
) -> None:
    env, (warning,) = build_environment({}, VENV, {name: value}, allow_unsafe=True)

    assert not any("canary" in held for held in env.values())
    assert "canary" not in warning


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("python main.py", (str(PYTHON), "main.py")),
        ("python3 -u 'my main.py'", (str(PYTHON), "-u", "my main.py")),
        ("'python' main.py", (str(PYTHON), "main.py")),
        ("python3.11 main.py", ("python3.11", "main.py")),
        ("uvicorn python", ("uvicorn", "python")),
        ("/usr/bin/python main.py", ("/usr/bin/python", "main.py")),
        ('./run.sh "" a\\ b --x="1 2"', ("./run.sh", "", "a b", "--x=1 2")),
        ("echo $HOME `id` | cat; #x", ("echo", "$HOME", "`id`", "|", "cat;", "#x")),
        ("python\nmain.py\n", (str(PYTHON), "main.py")),
    ],
)
def test_a_command_is_split_as_a_shell_would_without_one(command: str, argv: tuple[str, ...]) -> None:
    assert build_argv(command, PYTHON) == argv


@pytest.mark.parametrize("command", ["", "  ", "''", "python 'main.py", "python main.py\\", "a\0b"], ids=repr)
def test_a_command_that_is_none_is_refused_and_quoted(command: str) -> None:
    with pytest.raises(ProcessError) as caught:
        build_argv(command, PYTHON)

    assert repr(command) in str(caught.value)
