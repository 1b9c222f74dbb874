"""How a worker gets to a Redis that is careful about whom it talks to: TLS, certificates, ACL users;
and to one that moves: Sentinel."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from appliance.exits import Exit
from harness import wait
from harness.queue import asynq
from harness.queue.asynq import NewTask
from harness.sandbox.certificates import Certificates, make_certificates
from harness.sandbox.redis import RedisServer
from harness.sandbox.runtimes.process import WorkerProcess
from harness.sandbox.sentinel import MASTER, failed_over, sentinel
from tests.integration import world as worlds
from tests.integration.world import QUEUE, World

PASSWORD = "password-canary-71"
USER = "worker"
#: Enough for a worker, as the README says.
RIGHTS = ["~asynq:*", "&asynq:cancel", "+@all", "-@dangerous", "+client|unblock"]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """What somebody else's CA signed for the same address."""
    return make_certificates(tmp_path_factory.mktemp("strangers"))


@pytest.fixture
def secure(tmp_path: Path, certificates: Certificates) -> Iterator[World]:
    """A world whose Redis speaks TLS, asks for a certificate and has a user for workers."""
    with worlds.world(tmp_path, tls=certificates, password=PASSWORD) as fresh:
        fresh.db.execute_command("ACL", "SETUSER", USER, "on", f">{PASSWORD}", *RIGHTS)
        fresh.serve("raw_echo")
        yield fresh


def files(certificates: Certificates) -> dict[str, str]:
    return {
        "RUNQY_REDIS_CA_FILE": str(certificates.ca),
        "RUNQY_REDIS_CERT_FILE": str(certificates.cert),
        "RUNQY_REDIS_KEY_FILE": str(certificates.key),
    }


def connected(world: World) -> dict[str, str]:
    """The user of each of the worker's connections, by what it is for."""
    names = {client["name"]: client["user"] for client in world.db.client_list()}
    return {
        name.rpartition(":")[2]: user for name, user in names.items() if name.startswith("runqy-appliance")
    }


def refusal(worker: WorkerProcess) -> str:
    """Why the worker gave up on Redis; fails where it did not, or said the password."""
    assert worker.wait(60) == Exit.STARTUP, worker.tail()
    assert PASSWORD not in worker.log_text()
    assert "Traceback" not in worker.log_text()
    (failed,) = [event for event in worker.log_events() if event["event"] == "worker.failed"]
    return str(failed["reason"])


def test_tasks_run_over_tls_with_a_client_certificate_as_an_acl_user(
    secure: World, certificates: Certificates
) -> None:
    worker = secure.worker(RUNQY_REDIS_USERNAME=USER, RUNQY_BOOTSTRAP_RETRIES="0", **files(certificates))
    secure.running(worker)

    task_ids = secure.seed(200)
    secure.completed(len(task_ids), worker)

    assert secure.result(task_ids[0])["echo"] == {"n": 0}
    purposes = {"heartbeat", "dispatch", "upkeep", "watch", "cancel"}
    wait.until(lambda: connected(secure).keys() >= purposes, 60, "all connections", worker.tail)
    assert set(connected(secure).values()) == {USER}
    worker.terminate()
    assert worker.wait(60) == Exit.OK
    assert PASSWORD not in worker.log_text()
    assert worlds.complaints(worker) == []


def test_a_user_who_may_not_unblock_its_own_clients_is_no_trouble(
    secure: World, certificates: Certificates
) -> None:
    secure.db.execute_command("ACL", "SETUSER", USER, "-client")
    worker = secure.worker(RUNQY_REDIS_USERNAME=USER, **files(certificates))
    secure.running(worker)
    for part in (1, 2, 3):
        secure.seed(50)
        secure.completed(part * 50, worker)

    worker.terminate()

    assert worker.wait(60) == Exit.OK
    assert worlds.complaints(worker) == []


def test_connections_that_are_cut_come_back_over_tls(secure: World, certificates: Certificates) -> None:
    worker = secure.worker(RUNQY_REDIS_USERNAME=USER, **files(certificates))
    secure.running(worker)
    for part in (1, 2, 3):
        secure.db.client_kill_filter(skipme=True, user=USER)
        secure.seed(20)
        secure.completed(part * 20, worker)
    worker.terminate()
    assert worker.wait(60) == Exit.OK


def test_a_redis_vouched_for_by_another_ca_ends_the_start_naming_the_file(
    secure: World, certificates: Certificates, strangers: Certificates
) -> None:
    worker = secure.worker(
        RUNQY_BOOTSTRAP_RETRIES="1", **files(certificates) | {"RUNQY_REDIS_CA_FILE": str(strangers.ca)}
    )

    reason = refusal(worker)

    assert "gave up after 2 attempts" in reason
    assert "certificate is not trusted" in reason
    assert f"RUNQY_REDIS_CA_FILE ({strangers.ca})" in reason


def test_without_a_ca_file_only_the_systems_cas_are_trusted(secure: World) -> None:
    reason = refusal(secure.worker(RUNQY_BOOTSTRAP_RETRIES="0"))

    assert "certificate is not trusted" in reason
    assert "of this system (RUNQY_REDIS_CA_FILE names others)" in reason


def test_a_redis_that_asks_for_a_certificate_and_gets_none_is_named_with_the_setting(
    secure: World, certificates: Certificates
) -> None:
    reason = refusal(secure.worker(RUNQY_BOOTSTRAP_RETRIES="0", RUNQY_REDIS_CA_FILE=str(certificates.ca)))

    assert "RUNQY_REDIS_CERT_FILE" in reason


@pytest.mark.parametrize(
    "user", ["nobody", USER], ids=["a user there is not", "a user with another password"]
)
def test_a_user_redis_does_not_let_in_ends_the_start_naming_it(
    secure: World, certificates: Certificates, user: str
) -> None:
    secure.db.execute_command("ACL", "SETUSER", USER, "resetpass", ">another")

    worker = secure.worker(RUNQY_REDIS_USERNAME=user, RUNQY_BOOTSTRAP_RETRIES="0", **files(certificates))

    assert f"does not let user {user} (RUNQY_REDIS_USERNAME) in" in refusal(worker)


def test_crashes_are_read_over_the_same_connection(secure: World, certificates: Certificates) -> None:
    worker = secure.worker(RUNQY_REDIS_USERNAME=USER, **files(certificates))
    secure.running(worker)

    reading = worker.run("crashes")

    assert (reading.returncode, reading.stdout) == (Exit.OK, "no crashes are on record\n"), reading.stderr


def test_certificates_that_are_of_no_use_since_there_is_no_tls_are_a_warning(
    world: World, certificates: Certificates
) -> None:
    world.serve("raw_echo")

    worker = world.worker(**files(certificates))

    assert "not used" in world.event(worker, "registration.no_tls")["problem"]


def test_a_redis_that_is_no_cluster_although_it_should_be_is_said_at_start(world: World) -> None:
    world.serve("raw_echo")

    worker = world.worker(RUNQY_REDIS_CLUSTER="true", RUNQY_BOOTSTRAP_RETRIES="0")

    assert f"{world.redis.port} is no Redis Cluster, as RUNQY_REDIS_CLUSTER has it" in refusal(worker)


def test_a_failover_by_sentinel_costs_no_restart_and_no_task(tmp_path: Path) -> None:
    with worlds.world(tmp_path) as fresh, ExitStack() as stack:
        fresh.serve("raw_echo")
        heir = stack.enter_context(RedisServer(tmp_path / "heir"))
        watching = stack.enter_context(sentinel(tmp_path / "sentinel", fresh.redis, replica=heir))
        db = stack.enter_context(closing(heir.client()))
        worker = fresh.worker(
            RUNQY_REDIS_SENTINELS=f"127.0.0.1:1,{watching.host}:{watching.port}",
            RUNQY_REDIS_SENTINEL_MASTER=MASTER,
        )
        fresh.running(worker)
        before = fresh.seed(50)
        fresh.completed(len(before), worker)
        wait.until(lambda: len(asynq.get_completed(db, QUEUE)) == len(before), 60, "the replica to have all")

        fresh.redis.kill()
        failed_over(watching, heir)
        after = asynq.seed_pending(db, QUEUE, *(NewTask({"n": n}) for n in range(50)))

        wait.until(
            lambda: set(asynq.get_completed(db, QUEUE)) == {*before, *after}, 60, "the rest", worker.tail
        )
        assert worker.exit_status is None
        worker.terminate()
        assert worker.wait(60) == Exit.OK
