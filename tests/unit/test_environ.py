"""What a task process is started with: never our credentials, always its vaults."""

import os
import subprocess
from pathlib import Path

import pytest

from appliance.config.option import Origin
from appliance.config.options import OPTIONS
from appliance.errors import ProcessError
from appliance.process.environ import Room, build_argv, build_environment, check_size
from appliance.process.inheritance import FOR_TASKS, logins, remarks
from appliance.process.launch import room_for_arguments

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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RUNQY_SETTING_OF_LATER", "canary"),
        ("RUNQY_STATE_DIR", "/canary"),
        ("runqy_api_key", "canary"),
        ("RUNQY_SERVER_URL", "https://me:canary@server"),
        ("GIT_CONFIG_COUNT", "canary"),
        ("SSH_AUTH_SOCK", "/canary/agent"),
        ("GIT_ASKPASS", "/canary/asks"),
        ("GIT_CONFIG_VALUE_0", "Authorization: Basic canary"),
        ("GIT_CONFIG_PARAMETERS", "'http.extraheader=canary'"),
        ("GIT_CONFIG_GLOBAL", "/canary"),
        ("HTTPS_PROXY", "http://me:canary@proxy:3128"),
        ("https_proxy", "me:canary@proxy:3128"),
        ("ALL_PROXY", "socks5h://canary@proxy"),
        ("PIP_INDEX_URL", "https://me:canary@index/simple"),
        ("PIP_EXTRA_INDEX_URL", "https://index/simple https://canary@other/simple"),
        ("PIP_PROXY", "http://me:canary@proxy"),
        ("UV_INDEX", "mine=https://me:canary@index"),
        ("UV_INDEX_MINE_PASSWORD", "canary"),
        ("UV_DEFAULT_INDEX", "https://me:canary@index"),
        ("POETRY_HTTP_BASIC_MINE_PASSWORD", "canary"),
        ("POETRY_PYPI_TOKEN_MINE", "canary"),
        ("MY_INDEX_URL", "https://me:canary@index"),
    ],
)
def test_what_opens_something_that_was_given_to_the_worker_stays_out(name: str, value: str) -> None:
    env, warnings = build_environment({name: value, "LANG": "C.UTF-8"}, VENV, {})

    assert name not in env
    assert env["LANG"] == "C.UTF-8"
    assert warnings == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "http://proxy:3128"),
        ("NO_PROXY", "localhost,10.0.0.0/8"),
        ("PIP_INDEX_URL", "https://index/simple"),
        ("PIP_CERT", "/etc/ssl/own.pem"),
        ("UV_INDEX_URL", "https://index/@scope"),
        ("GIT_SSH_COMMAND", "ssh -4"),
        ("DATABASE_URL", "postgres://me:pw@db/tasks"),
        ("CUDA_VISIBLE_DEVICES", "0"),
        ("HF_TOKEN", "hf_x"),
        ("RUNQY_SERVER_URL", "https://server"),
        ("RUNQY_QUEUES", "inference"),
    ],
)
def test_what_its_machine_set_for_every_program_is_the_tasks_too(name: str, value: str) -> None:
    env, _ = build_environment({name: value}, VENV, {})

    assert env[name] == value


def test_what_the_specification_documents_for_the_worker_is_the_tasks_but_for_credentials() -> None:
    specified = {
        option.variable
        for option in OPTIONS
        if option.origin in {Origin.SPECIFICATION, Origin.SPECIFIED_VARIABLE} and not option.secret
    }

    assert specified - FOR_TASKS == {"RUNQY_GIT_SSH_KEY"}
    assert specified >= FOR_TASKS


def test_a_login_that_task_code_does_not_get_is_named_without_its_value_and_masked() -> None:
    environ = {
        "HTTPS_PROXY": "http://me:canary@proxy",
        "UV_INDEX_MINE_PASSWORD": "canary-2",
        "NO_PROXY": "localhost",
        "GIT_CONFIG_VALUE_0": "true",
    }

    assert [name for name, _ in remarks(environ)] == ["HTTPS_PROXY"]
    assert "canary" not in str(list(remarks(environ)))
    assert set(logins(environ)) == {"http://me:canary@proxy", "canary-2"}


def test_a_vault_may_give_task_code_what_it_does_not_inherit() -> None:
    proxy = {"HTTPS_PROXY": "http://task:pw@proxy"}

    env, warnings = build_environment({"HTTPS_PROXY": "http://worker:canary@proxy"}, VENV, proxy)

    assert env["HTTPS_PROXY"] == proxy["HTTPS_PROXY"]
    assert warnings == []


ROOM = Room(one=131_072, all=2_000_000)


def test_what_fits_is_started() -> None:
    check_size(("python",), {"BIG": "x" * (131_072 - 5), **{f"V{n}": "x" * 100_000 for n in range(10)}}, ROOM)


def test_a_variable_that_no_process_takes_is_named_with_what_it_may_have() -> None:
    with pytest.raises(ProcessError) as refused:
        check_size(("python",), {"BIG": "canary" * 22_000, "ÜBER": "ü" * 70_000, "GOOD": "x"}, ROOM)

    text = str(refused.value)
    assert "BIG (132005 bytes), ÜBER (140007 bytes)" in text
    assert "131072" in text
    assert "canary" not in text
    assert "GOOD" not in text


def test_an_environment_too_large_altogether_is_refused_with_its_largest_variables() -> None:
    with pytest.raises(ProcessError, match=r"3000830 bytes.* 2000000; the largest are V29 \(100034 b"):
        check_size(("python",), {f"V{n}": "x" * (100_000 + n) for n in range(30)}, ROOM)


def test_the_room_is_the_systems(tmp_path: Path) -> None:
    room = room_for_arguments()

    for size, works in ((room.one - len("V=") - 1, True), (room.one - len("V="), False)):
        try:
            started = subprocess.run(["/bin/true"], env={"V": "x" * size}, check=False).returncode == 0
        except OSError:
            started = False
        assert started is works


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
