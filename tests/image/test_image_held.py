"""A worker held as tightly as an engine can hold it does its job, and what happens to it is told rightly."""

from collections.abc import Iterator

import pytest
from runqy_python import RunqyClient

from harness import wait
from tests.image.engine import READ_ONLY, Engine
from tests.image.tasks import API_KEY, DEPLOY_TIMEOUT_S, end_of, result_of, wait_active

pytestmark = [pytest.mark.image, pytest.mark.timeout(1500)]

#: What a cluster with strict rules allows; memory is a few times what worker and task need.
HELD = (
    *READ_ONLY,
    "--user=12345:0",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--memory=256m",
    "--memory-swap=256m",
    "--pids-limit=100",
)
STOP_GRACE_S = 30
#: The letter of a process's state, or "gone".
STATE = "cut -d ' ' -f 3 /proc/{pid}/stat 2>/dev/null || echo gone"


@pytest.fixture(scope="module")
def held(client: RunqyClient, engine: Engine, image: str, docker_compose_project_name: str) -> Iterator[str]:
    """A container that serves the queue ``spare``."""
    container = engine.start(
        f"--network={docker_compose_project_name}_default",
        "--env=RUNQY_SERVER_URL=http://server:8081",
        f"--env=RUNQY_API_KEY={API_KEY}",
        "--env=RUNQY_QUEUES=spare",
        "--env=RUNQY_SHUTDOWN_TIMEOUT=20s",
        # What kills a process here must not come again in the middle of another test.
        "--env=RUNQY_MAX_RETRY=0",
        f"--env=RUNQY_STOP_GRACE={STOP_GRACE_S}s",
        f"--stop-timeout={STOP_GRACE_S}",
        *HELD,
        image,
    )
    yield container
    engine.docker("rm", "--force", "--volumes", container)


def test_it_runs_a_task(engine: Engine, client: RunqyClient, held: str) -> None:
    result = result_of(engine, client, held, "spare", {"look_for": ["runqy_python"]})

    assert isinstance(result, dict)
    assert result["uid"] == 12345
    assert result["importable"] == ["runqy_python"]
    assert result["credentials"] == []


def test_pid_1_reaps_what_a_task_leaves_behind(engine: Engine, client: RunqyClient, held: str) -> None:
    # when a task's process starts another and does not wait for it
    result_of(engine, client, held, "spare", {"orphan": "/tmp/orphan"})
    pid = engine.sh(held, "cat /tmp/orphan").strip()

    # then it goes entirely when it ends, while the task's process lives on
    wait.until(
        lambda: engine.sh(held, STATE.format(pid=pid)).strip() == "gone",
        timeout_s=300,
        what=f"the end of {pid}",
        diagnose=lambda: engine.sh(held, "cat /proc/[0-9]*/stat"),
    )
    assert "process.crashed" not in engine.logs(held)


def test_a_task_that_takes_all_memory_dies_of_it_and_it_alone(
    engine: Engine, client: RunqyClient, held: str
) -> None:
    # when a handler allocates more than the container may have, but not without end: a machine is at stake
    seen = end_of(engine, client, held, "spare", {"hoard_mb": 500})

    # then the task says what killed its process, and so does the dossier
    assert seen.state == "archived", engine.logs(held)
    assert "SIGKILL (out of memory: cgroup oom_kill rose)" in str(seen.error)
    crashes = wait.until(
        lambda: "SIGKILL" in (said := engine.sh(held, "runqy-appliance crashes")) and said,
        timeout_s=300,
        what="the dossier, which travels with a heartbeat",
    )
    assert "SIGKILL (out of memory: cgroup oom_kill rose)" in crashes
    assert seen.task_id in crashes

    # and the worker serves on
    assert isinstance(result_of(engine, client, held, "spare", {}), dict)
    assert engine.inspect(held, "{{.RestartCount}} {{.State.Running}}") == "0 true"


def test_docker_stop_lets_a_running_task_finish_and_ends_with_status_0_within_the_grace(
    engine: Engine, client: RunqyClient, held: str
) -> None:
    # given a worker told of the grace it has, with a task under way
    assert "config.warning" not in engine.logs(held)
    task_id = client.enqueue("spare", {"sleep_s": 2}).task_id
    wait_active(engine, client, task_id)

    # when
    engine.docker("stop", held)

    # then neither the engine nor the worker cut it short
    assert engine.inspect(held, "{{.State.ExitCode}}") == "0", engine.logs(held)
    assert client.get_task(task_id).state == "completed"
    assert "drain.timed_out" not in engine.logs(held)


def test_health_goes_from_starting_to_healthy_and_unhealthy_when_degraded(
    engine: Engine, client: RunqyClient, image: str, docker_compose_project_name: str
) -> None:
    # given a worker whose first crash is its last, looked at more often than the image says
    container = engine.start(
        f"--network={docker_compose_project_name}_default",
        "--env=RUNQY_SERVER_URL=http://server:8081",
        f"--env=RUNQY_API_KEY={API_KEY}",
        "--env=RUNQY_QUEUES=spare",
        "--env=RUNQY_RECOVERY_ENABLED=false",
        "--env=RUNQY_MAX_RETRY=0",
        "--health-interval=1s",
        "--health-retries=1",
        image,
        probed=True,
    )
    seen = [health_of(engine, container)]

    def until(status: str) -> None:
        wait.until(
            lambda: health_of(engine, container) == status,
            DEPLOY_TIMEOUT_S,
            f"the container to be {status}",
            lambda: engine.inspect(container, "{{json .State.Health}}") + engine.logs(container),
        )
        seen.append(status)

    # when it gets ready, and then its process dies
    until("healthy")
    end_of(engine, client, container, "spare", {"die": True})
    until("unhealthy")

    # then the probe said why, and the worker itself lives on
    said = engine.inspect(container, "{{(index .State.Health.Log 0).Output}}")
    last = engine.docker("exec", container, "runqy-appliance", "health", check=False)
    live = engine.docker("exec", container, "runqy-appliance", "health", "--live", check=False)
    engine.docker("rm", "--force", "--volumes", container)
    assert seen == ["starting", "healthy", "unhealthy"], said
    assert "degraded" in last.stdout + last.stderr
    assert (last.returncode, live.returncode) == (1, 0)


def health_of(engine: Engine, container: str) -> str:
    """What the engine thinks of the container."""
    return engine.inspect(container, "{{.State.Health.Status}}")
