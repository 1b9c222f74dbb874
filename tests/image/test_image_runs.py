"""How a container of the image behaves: who it runs as, how it starts, fails and ends."""

import json
import re
from datetime import datetime
from pathlib import Path

import pytest

from harness import wait
from tests.image.engine import READ_ONLY, Engine

pytestmark = [pytest.mark.image, pytest.mark.timeout(1500)]

UNREACHABLE_SERVER = {
    "RUNQY_SERVER_URL": "http://127.0.0.1:9",
    "RUNQY_API_KEY": "key",
    "RUNQY_QUEUES": "inference",
    "RUNQY_BOOTSTRAP_RETRIES": "1000",
    "RUNQY_BOOTSTRAP_RETRY_DELAY": "60s",
}
#: Fails unless all that a worker writes to can be written and ssh finds a user to be; prints the uid last.
WORKS_HERE = """
touch "$HOME/probe" "$RUNQY_DEPLOYMENT_DIR/probe" /state/probe /tmp/probe
ssh -V
runqy-appliance version
id -u
"""
#: What has become of the process whose id is in a file: its state's letter, or "gone".
STATE_OF_ORPHAN = "cut -d ' ' -f 3 /proc/$(cat /tmp/orphan)/stat 2>/dev/null || echo gone"


def test_without_variables_it_ends_within_2_s_and_names_what_is_missing(engine: Engine, image: str) -> None:
    # when
    container = engine.start(image)
    status = engine.docker("wait", container).stdout.strip()

    # then
    log = engine.logs(container)
    state = json.loads(engine.inspect(container, "{{json .State}}"))
    # The engine writes nanoseconds, of which datetime takes six digits.
    began, ended = (datetime.fromisoformat(state[key][:26]) for key in ("StartedAt", "FinishedAt"))
    assert status == "2", log
    # At once, and not after it tried for a while: the machine may have other things to do.
    assert (ended - began).total_seconds() < 30
    for name in ("RUNQY_SERVER_URL", "RUNQY_API_KEY", "RUNQY_QUEUES"):
        assert name in log


def test_it_runs_as_an_unprivileged_user(engine: Engine, image: str) -> None:
    output = engine.run(image, "sh", "-euc", "id -u; id -g; umask" + WORKS_HERE).stdout.split("\n")

    assert output[:3] == ["10001", "0", "0002"]
    assert "uid=0" not in engine.run(image, "id").stdout


@pytest.mark.parametrize(
    "options", [(), READ_ONLY, ("--cap-drop", "ALL", "--security-opt", "no-new-privileges")]
)
def test_it_works_as_its_own_user_however_tightly_it_is_held(
    engine: Engine, image: str, options: tuple[str, ...]
) -> None:
    # HOME is on the root: on a read-only one, another is found.
    output = engine.run(*options, image, "sh", "-euc", WORKS_HERE).stdout

    assert output.split()[-1] == "10001"


def test_read_only_means_that_nothing_else_can_be_written(engine: Engine, image: str) -> None:
    written = engine.run(*READ_ONLY, image, "sh", "-c", "touch /var/lib/runqy/probe", check=False)

    assert written.returncode != 0
    assert "Read-only" in written.stderr


def test_it_works_as_any_uid_of_group_0(engine: Engine, image: str) -> None:
    output = engine.run("--user", "12345:0", image, "sh", "-euc", WORKS_HERE).stdout

    assert output.split()[-1] == "12345"


def test_any_uid_has_a_name_and_a_home_on_a_read_only_root_too(engine: Engine, image: str) -> None:
    held = (*READ_ONLY, "--cap-drop=ALL", "--security-opt=no-new-privileges")
    output = engine.run("--user", "12345:0", *held, image, "sh", "-euc", WORKS_HERE).stdout

    assert output.split()[-1] == "12345"


def test_ssh_would_refuse_such_a_uid_but_for_the_entrypoint(engine: Engine, image: str) -> None:
    refused = engine.run("--user", "12345:0", "--entrypoint", "ssh", image, "-V", check=False)

    assert refused.returncode != 0
    assert "No user exists" in refused.stderr


def test_a_uid_of_another_group_gets_a_home_it_can_write_to(engine: Engine, image: str) -> None:
    output = engine.run(
        "--user", "12345:12345", image, "sh", "-c", 'touch "$HOME/probe"; echo "$HOME"'
    ).stdout

    assert output.startswith("/tmp/home.")


def test_another_uid_goes_on_with_what_the_first_one_deployed(engine: Engine, image: str) -> None:
    # given a clone made by the image's own user, on a volume
    volume = engine.docker("volume", "create", "--label", engine.label).stdout.strip()
    mount = ("--volume", f"{volume}:/var/lib/runqy/deployment")
    commit = "git -c user.name=t -c user.email=t@example.org commit --quiet --allow-empty --message first"
    engine.run(
        *mount, image, "sh", "-c", f"cd deployment && git init --quiet inference && cd inference && {commit}"
    )

    # when another uid of the group works in it
    output = engine.run(
        *mount,
        "--user",
        "12345:0",
        image,
        "sh",
        "-c",
        f"cd deployment/inference && {commit} && git log --oneline",
    ).stdout

    # then
    assert len(output.splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "command", "init", "end"),
    [
        ((), ("sleep", "infinity"), "tini", "gone"),
        (("--entrypoint", "sleep"), ("infinity",), "sleep", "Z"),
    ],
    ids=["an init is PID 1", "twin: without it a zombie stays"],
)
def test_orphans_are_reaped(
    engine: Engine, image: str, options: tuple[str, ...], command: tuple[str, ...], init: str, end: str
) -> None:
    # given a container whose PID 1 is known
    container = engine.start(*options, image, *command)
    wait.until(
        lambda: engine.sh(container, "cat /proc/1/comm").strip() == init,
        timeout_s=300,
        what=f"{init} to be PID 1, after the shell that becomes it",
    )

    # when a process loses its parent, to PID 1, and ends
    engine.sh(container, "(sleep 0.3 >/dev/null 2>&1 & echo $! >/tmp/orphan)")

    # then
    wait.until(
        lambda: engine.sh(container, STATE_OF_ORPHAN).strip() == end,
        timeout_s=300,
        what=f"the orphan's state {end}",
        diagnose=lambda: engine.sh(container, "cat /proc/[0-9]*/stat"),
    )
    assert engine.sh(container, STATE_OF_ORPHAN).strip() == end


@pytest.mark.parametrize("flag", ["version", "-version", "--version"])
def test_a_subcommand_or_flag_goes_to_the_worker(engine: Engine, image: str, flag: str) -> None:
    assert engine.run(image, flag).stdout.startswith("runqy-appliance ")


def test_anything_else_is_run_as_a_command_and_its_status_is_the_containers(
    engine: Engine, image: str
) -> None:
    done = engine.run(image, "sh", "-c", "echo as asked; exit 7", check=False)

    assert (done.stdout, done.returncode) == ("as asked\n", 7)


def test_what_is_neither_subcommand_nor_program_is_answered_by_the_worker(engine: Engine, image: str) -> None:
    done = engine.run(image, "valdate", check=False)

    assert done.returncode == 2
    assert "unknown command 'valdate': must be one of run, validate" in done.stderr


def test_no_program_gets_in_the_way_of_a_subcommand(engine: Engine, image: str) -> None:
    # given programs of the subcommands' names
    commands = re.search(r"\[(run \|[^]]+)\]", engine.run(image, "--help").stdout)
    assert commands is not None
    names = [name.strip() for name in commands[1].split("|")]
    plant = "cp /bin/true /usr/local/bin/$name"
    script = f"for name in {' '.join(names)}; do {plant}; done; sleep infinity"
    container = engine.start("--user=0", image, "sh", "-c", script)

    # when the entrypoint is asked for each, then the worker answers
    for name in names:
        answer = engine.sh(container, f"cd /tmp; /usr/local/bin/entrypoint.sh {name} 2>&1 || :")
        assert answer.strip(), f"{name} went to a program"


def test_secrets_are_read_from_files(engine: Engine, image: str, tmp_path: Path) -> None:
    # given a secret as engines mount it
    secret = tmp_path / "key"
    secret.write_text("secret-canary\n")
    secret.chmod(0o444)

    # when
    output = engine.run(
        f"--volume={secret}:/run/secrets/runqy_api_key:ro",
        "--env=RUNQY_API_KEY_FILE=/run/secrets/runqy_api_key",
        "--env=RUNQY_SERVER_URL=http://server",
        "--env=RUNQY_QUEUES=inference",
        image,
        "config",
    ).stdout

    # then
    (line,) = [line for line in output.splitlines() if line.startswith("server.api_key")]
    assert line.split()[-1] == "RUNQY_API_KEY_FILE"
    assert "canary" not in output


def test_stop_reaches_the_worker_and_ends_it_cleanly(engine: Engine, image: str) -> None:
    # given a worker that keeps trying to register
    container = engine.start(*(f"--env={name}={value}" for name, value in UNREACHABLE_SERVER.items()), image)
    wait.until(
        lambda: "registration" in engine.logs(container),
        timeout_s=300,
        what="a first attempt at registering",
        diagnose=lambda: engine.logs(container),
    )

    # when
    engine.docker("stop", "--time", "20", container)

    # then it stopped as asked, not by the engine's SIGKILL (137) or an unhandled SIGTERM (143)
    assert engine.inspect(container, "{{.State.ExitCode}}") == "0", engine.logs(container)


def test_an_engine_that_gives_less_time_than_a_stop_may_take_is_warned_of_once(
    engine: Engine, image: str
) -> None:
    # given nothing but what a worker cannot do without
    container = engine.start(*(f"--env={name}={value}" for name, value in UNREACHABLE_SERVER.items()), image)

    # when it has started
    wait.until(
        lambda: "registration" in engine.logs(container),
        timeout_s=300,
        what="a first attempt at registering",
        diagnose=lambda: engine.logs(container),
    )

    # then it said once what its user must do
    (line,) = [line for line in engine.logs(container).splitlines() if "--stop-timeout" in line]
    assert "RUNQY_STOP_GRACE='10s'" in line
    assert "--stop-timeout 45" in line


def test_what_a_task_left_in_tmp_leads_the_entrypoint_nowhere(engine: Engine, image: str) -> None:
    planted = """
        echo kept >/tmp/precious
        ln -s /tmp/precious /tmp/.extrausers-passwd
        mkdir /tmp/elsewhere
        ln -s /tmp/elsewhere /tmp/home.12345
        exec /usr/local/bin/entrypoint.sh sh -euc 'id -un; cat /tmp/precious; test ! -L "$HOME"; echo "$HOME"'
    """
    run = engine.run("--user", "12345:12345", "--entrypoint", "sh", image, "-euc", planted)

    assert run.stdout.split() == ["uid12345", "kept", "/tmp/home.12345"]
