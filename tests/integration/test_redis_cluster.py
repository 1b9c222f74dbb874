"""A worker on a Redis Cluster: sub-queues on several nodes, slots that move, masters that fail."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from appliance.exits import Exit
from harness import wait
from harness.queue import asynq
from harness.queue.asynq import NewTask
from harness.sandbox.certificates import make_certificates
from harness.sandbox.cluster import RedisCluster
from harness.sandbox.runtimes.process import WorkerProcess
from harness.server.fake import FakeServer
from tests.integration import world as worlds
from tests.integration.world import World

#: A cluster in which a node that is down takes only its own slots with it, and forgets nothing it answered.
SOUND = {
    "persistent": True,
    "extra_args": ("--cluster-require-full-coverage", "no"),
}
ON = {"RUNQY_REDIS_CLUSTER": "true", "RUNQY_CONCURRENCY": "4"}


class ClusterWorld(World):
    """A world on a cluster, with one sub-queue on each of its masters."""

    cluster: RedisCluster
    queues: list[str]

    def seed_all(self, count: int) -> list[str]:
        """Put ``count`` tasks into each sub-queue."""
        return [task_id for queue in self.queues for task_id in self.seed_into(queue, count)]

    def seed_into(self, queue: str, count: int) -> list[str]:
        """Put ``count`` tasks into one, with their reverse lookups, as the server does."""
        tasks = [NewTask({"n": n}) for n in range(count)]
        asynq.write_lookup(self.db, queue, *(task.id for task in tasks))
        return asynq.seed_pending(self.db, queue, *tasks)

    def completed_in(self, *queues: str) -> int:
        """How many tasks are completed, by default of all queues."""
        return sum(len(asynq.get_completed(self.db, queue)) for queue in queues or self.queues)

    def progress(self, more: int, worker: WorkerProcess, *queues: str) -> None:
        """Wait until so many more tasks are completed, or all: the test may be late."""
        before = self.completed_in(*queues)

        def enough() -> bool:
            left = [asynq.get_pending(self.db, queue) for queue in queues or self.queues]
            return self.completed_in(*queues) >= before + more or not any(left)

        wait.until(enough, 60, f"{more} more results", worker.tail)

    def all_is_well(self, worker: WorkerProcess, task_ids: list[str]) -> None:
        """Every task was begun once and is completed, and none shows a trace of trouble."""
        wait.until(
            lambda: self.completed_in() == len(task_ids),
            60,
            f"{len(task_ids)} completed tasks",
            lambda: f"{self.completed_in()} are\n{worker.tail()}",
        )
        assert worker.exit_status is None, worker.tail()
        assert self.diary.begun == Counter(task_ids)
        for queue in self.queues:
            assert asynq.get_counters(self.db, queue)["failed"] == 0
            assert (asynq.get_active(self.db, queue), asynq.get_leases(self.db, queue)) == ([], {})
        assert [event for event in worker.log_events() if event["event"] == "process.crashed"] == []


@contextmanager
def world_on(folder: Path, **options: Any) -> Iterator[ClusterWorld]:
    with RedisCluster(folder / "redis", **options) as cluster, world_beside(folder, cluster) as fresh:
        yield fresh


@contextmanager
def world_beside(folder: Path, cluster: RedisCluster) -> Iterator[ClusterWorld]:
    with ExitStack() as stack:
        server = stack.enter_context(FakeServer(cluster.url))
        fresh = ClusterWorld(folder, cluster, server, stack)  # type: ignore[arg-type]
        stack.callback(fresh.db.close)
        fresh.cluster = cluster
        fresh.queues = cluster.queues_apart("inference")
        yield fresh


def served(world: ClusterWorld, run_s: float = 0.001) -> None:
    """Have the server know the sub-queues, all of one priority, with a handler that keeps a diary."""
    world.serve_sleeper(run_s, sub_queues=dict.fromkeys(world.queues, 1))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path_factory.mktemp("cluster"), **SOUND) as cluster:
        yield cluster


@pytest.fixture
def world(tmp_path: Path, sound: RedisCluster) -> Iterator[ClusterWorld]:
    sound.settled()
    with world_beside(tmp_path, sound) as fresh:
        fresh.db.flushall()
        yield fresh


def test_tasks_of_sub_queues_on_several_nodes_run_over_tls_and_leave_nothing_behind(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path / "certificates")
    with world_on(tmp_path, tls=certificates, password="password-canary-81") as world:
        served(world)
        worker = world.worker(
            **ON,
            RUNQY_REDIS_CA_FILE=str(certificates.ca),
            RUNQY_REDIS_CERT_FILE=str(certificates.cert),
            RUNQY_REDIS_KEY_FILE=str(certificates.key),
        )
        world.running(worker)

        task_ids = world.seed_all(20)

        world.all_is_well(worker, task_ids)
        assert len({world.cluster.owner(queue).port for queue in world.queues}) == 3
        assert all(world.db.ttl(asynq.lookup_key(task_id)) > 0 for task_id in task_ids)
        wait.until(
            lambda: [(beat["status"], beat["healthy"]) for beat in world.heartbeats()] == [("running", "1")],
            60,
            "a heartbeat that says so",
        )
        assert worker.run("crashes").stdout == "no crashes are on record\n"
        worker.terminate()
        assert worker.wait(60) == Exit.OK
        assert "password-canary-81" not in worker.log_text()
        assert worlds.complaints(worker) == []


def test_a_slot_that_moves_while_tasks_run_costs_no_task_anything(
    world: ClusterWorld,
) -> None:
    served(world, run_s=0.002)
    worker = world.worker(**ON)
    world.running(worker)
    moving, *others = world.queues
    task_ids = world.seed_all(500)

    for to in (world.cluster.owner(others[0]), world.cluster.owner(others[1])):
        world.progress(30, worker)
        world.cluster.begin_move(moving, to)
        # The others go on while this one waits, half here and half there.
        world.cluster.move_keys(moving, to, 50)
        before = world.completed_in(*others)
        task_ids += [task_id for other in others for task_id in world.seed_into(other, 40)]
        wait.until(lambda: world.completed_in(*others) >= before + 40, 60, "the others' results", worker.tail)  # noqa: B023
        world.cluster.end_move(moving, to)

    world.all_is_well(worker, task_ids)
    # Idle, it waits where the queue is now, and goes after it when it moves.
    task_ids += world.seed_into(moving, 1)
    world.all_is_well(worker, task_ids)
    world.cluster.begin_move(moving, world.cluster.owner(others[0]))
    world.cluster.end_move(moving, world.cluster.owner(others[0]))
    task_ids += world.seed_into(moving, 5)
    world.all_is_well(worker, task_ids)


def test_a_master_that_is_killed_and_comes_back_delays_nobody_but_its_own_queue(world: ClusterWorld) -> None:
    served(world, run_s=0.005)
    worker = world.worker(**ON)
    world.running(worker)
    lost, *others = world.queues
    task_ids = world.seed_all(100)
    world.progress(15, worker)
    node = world.cluster.owner(lost)

    node.kill()
    wait.until(
        lambda: world.completed_in(*others) == 200, 60, "the other queues to be done with", worker.tail
    )
    assert world.event(worker, "queue.unavailable")["queue"] == lost
    node.start()

    world.all_is_well(worker, task_ids)
    world.event(worker, "queue.available")


def test_a_failover_to_a_replica_costs_no_restart_and_no_task(tmp_path: Path) -> None:
    with world_on(tmp_path, replicas=1) as world:
        served(world, run_s=0.005)
        worker = world.worker(**ON)
        world.running(worker)
        queue = world.queues[0]
        task_ids = world.seed_all(60)
        world.progress(15, worker)

        # Asked for, it loses nothing; a second one brings the first master back.
        world.cluster.fail_over(world.cluster.owner(queue))
        world.all_is_well(worker, task_ids)

        # And now without having been asked for, with nothing under way that Redis itself could lose.
        master = world.cluster.owner(queue)
        # The node that was master a moment ago has to find its place first.
        heir = wait.until(lambda: world.cluster.replica_of(master), 60, "the master to have a replica")
        time_s = time.monotonic()
        master.kill()
        world.cluster.await_master(heir)
        task_ids += world.seed_all(10)

        world.all_is_well(worker, task_ids)
        assert time.monotonic() - time_s < 30
        worker.terminate()
        assert worker.wait(60) == Exit.OK
