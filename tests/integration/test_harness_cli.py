"""``runqy-harness serve`` and ``enqueue`` as programs: what they print, do, refuse and leave behind."""

import http.server
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import yaml

from harness import wait
from harness.queue import asynq, wire
from harness.sandbox import brisk
from harness.sandbox.redis import RedisServer
from harness.sandbox.runtimes.process import WorkerProcess
from harness.server.config import QueueConfig
from harness.server.fake import FakeServer
from tests.integration.closed_pipe import closed_pipe
from tests.integration.program import HARNESS, Program, program

ROOT = Path(__file__).parents[2]
READY = "Ctrl-C ends the server."
Q = "inference.default"


def printed_variables(serving: Program) -> dict[str, str]:
    """The line that starts a worker, as a shell would take it apart."""
    (line,) = (line for line in serving.out.splitlines() if "RUNQY_API_KEY=" in line)
    *variables, command = shlex.split(line)
    assert Path(command).name == "runqy-appliance"
    return dict(variable.split("=", 1) for variable in variables)


def register(serving: Program, queue: str = "inference") -> httpx.Response:
    variables = printed_variables(serving)
    return httpx.post(
        f"{variables['RUNQY_SERVER_URL']}/worker/register",
        json={"queue": queue, "hostname": "h", "os": "linux", "version": "1"},
        headers={"Authorization": f"Bearer {variables['RUNQY_API_KEY']}"},
        trust_env=False,
    )


def cloned(url: str, folder: Path) -> dict[str, str]:
    subprocess.run(["git", "clone", "--quiet", "--depth=1", url, str(folder)], check=True)
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def harness(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HARNESS, *arguments], capture_output=True, text=True, check=False, timeout=60, **options
    )


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "main.py").write_text("print('one')\n")
    return folder


# serve -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_serve_says_how_to_start_a_worker_and_to_send_a_task_and_leaves_nothing(
    tmp_path: Path, code: Path, number: int
) -> None:
    # given
    with program(tmp_path / "run", "serve", "--port=0", str(code)) as serving:
        serving.shows(READY)

        # when what it printed is done
        registered = register(serving)
        (line,) = (line for line in serving.out.splitlines() if "runqy-harness enqueue" in line)
        sent = harness(*(word for word in shlex.split(line)[1:] if word != "--wait"))

        # then the worker is told of code and Redis, and the task is in there
        assert registered.status_code == 200
        assert cloned(registered.json()["deployment"]["git_url"], tmp_path / "clone") == {
            "main.py": "print('one')\n"
        }
        assert sent.returncode == 0, sent.stderr
        host, port = registered.json()["redis"]["addr"].split(":")
        assert asynq.get_pending(redis.Redis(host, int(port)), Q) == sent.stdout.split()

        # and the page shows it, without a key: the server's is one that everybody knows
        (page,) = re.findall(r"^  page    (\S+)$", serving.out, re.MULTILINE)
        assert sent.stdout.strip()[:13] in httpx.get(page, trust_env=False).text

        # and a signal ends everything
        assert serving.leftovers() != []
        assert serving.end(number) == 0, serving.said()
        assert serving.leftovers() == []
        assert serving.err == ""


def test_a_real_worker_started_with_the_printed_line_answers_a_task(tmp_path: Path) -> None:
    with program(tmp_path / "run", "serve", "--port=0", "--handler=raw_echo") as serving:
        serving.shows(READY)
        variables = printed_variables(serving)
        url = variables["RUNQY_SERVER_URL"]
        with WorkerProcess((sys.executable, "-m", "appliance"), variables, tmp_path / "worker") as worker:
            done = harness("enqueue", "--server", url, "--queue=inference", "--count=3", "--wait", '{"n": 1}')

            assert done.returncode == 0, done.stdout + done.stderr + worker.tail()
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["result"]["echo"] for answer in answers] == [{"n": 1}] * 3
    assert {(answer["state"], answer["error"]) for answer in answers} == {("completed", None)}


def test_what_is_printed_can_be_pasted_whatever_keys_and_sub_queues_there_are(
    tmp_path: Path, code: Path
) -> None:
    """A queue with sub-queues has no default one; a shell takes keys apart."""
    keys = ("--worker-key", "a'$b", "--client-key", "x $y")
    queues = ("--sub-queue", "high:5", "--sub-queue", "low:1")
    with program(tmp_path / "run", "serve", "--port=0", str(code), *keys, *queues) as serving:
        serving.shows(READY)

        registered = register(serving)
        (line,) = (line for line in serving.out.splitlines() if "runqy-harness enqueue" in line)
        pasted = line.replace(" --wait", "")
        sent = subprocess.run(["sh", "-c", pasted], capture_output=True, text=True, check=False, timeout=60)

        assert registered.status_code == 200
        assert sent.returncode == 0, sent.stderr
        host, port = registered.json()["redis"]["addr"].split(":")
        assert asynq.get_pending(redis.Redis(host, int(port)), "inference.high") == sent.stdout.split()

        told = r"^  page    (\S+) \(the client key is the password\)$"
        (page,) = re.findall(told, serving.out, re.MULTILINE)
        answers = [httpx.get(page, auth=auth, trust_env=False) for auth in (None, ("", "x $y"))]
        assert [answer.status_code for answer in answers] == [401, 200]


def test_what_is_printed_works_behind_a_proxy(
    tmp_path: Path, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy does not reach this machine; one that is no HTTP proxy must not matter either."""
    for name in ("http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "fe80::/10")
    with program(tmp_path / "run", "serve", "--port=0", str(code)) as serving:
        serving.shows(READY)

        (line,) = (line for line in serving.out.splitlines() if "runqy-harness enqueue" in line)
        sent = harness(*(word for word in shlex.split(line)[1:] if word != "--wait"))

        assert printed_variables(serving)["NO_PROXY"] == "fe80::/10,127.0.0.1"
        assert sent.returncode == 0, sent.stderr


def test_a_key_log_that_cannot_be_written_is_named_where_a_server_is_asked() -> None:
    env = {**os.environ, "SSLKEYLOGFILE": "/nonexistent/keys"}

    done = harness("watch", "--server", "http://127.0.0.1:1", "--for", "1", env=env)

    said = "runqy-harness watch: SSLKEYLOGFILE='/nonexistent/keys': No such file or directory\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_the_example_handlers_need_nothing_of_this_machine_and_no_index(tmp_path: Path) -> None:
    """So that a worker in a container, or one without a way to an index, can have them too."""
    with program(tmp_path / "run", "serve", "--port=0", "--handler=echo") as serving:
        serving.shows(READY)
        url = register(serving).json()["deployment"]["git_url"]

        subprocess.run(["git", "clone", "--quiet", url, str(tmp_path / "clone")], check=True)

    assert not (tmp_path / "clone" / "requirements.txt").exists()
    imported = subprocess.run(
        [sys.executable, "-I", "-S", "-c", "import sys; sys.path.insert(0, '.'); import runqy_python, main"],
        cwd=tmp_path / "clone",
        capture_output=True,
        text=True,
        check=False,
    )
    assert imported.returncode == 0, imported.stderr


# Pipes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["certify", "--help"], ["handlers"]])
def test_a_reader_that_has_gone_and_a_full_device_end_a_command_without_a_traceback(
    tmp_path: Path, arguments: list[str]
) -> None:
    piped = closed_pipe([*HARNESS, *arguments], tmp_path, os.environ)
    with Path("/dev/full").open("wb") as full:
        lost = subprocess.run(
            [*HARNESS, *arguments], stdout=full, stderr=subprocess.PIPE, check=False, timeout=60
        )

    assert piped == (128 + signal.SIGPIPE, b"")
    assert lost.returncode == 1
    assert lost.stderr == b"runqy-harness: standard output: No space left on device\n"


def test_a_command_that_works_on_ends_what_it_started_when_its_reader_goes(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    # An environment that pip fills takes most of the time, and is not what this is about.
    env = {**os.environ, **brisk.ALONE, "TMPDIR": str(temporary)}
    certify = subprocess.Popen(
        [*HARNESS, "certify", "--handler", "raw_echo", "--payload", "{}"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert certify.stdout is not None
    # By then Redis, a server and a worker run; after the first line alone there may be nothing yet to end.
    assert any(b"deploys" in line for line in certify.stdout)
    assert list(temporary.iterdir()) != []
    certify.stdout.close()

    status = certify.wait(120)

    assert certify.stderr is not None
    assert (status, certify.stderr.read()) == (128 + signal.SIGPIPE, b"")
    assert list(temporary.iterdir()) == []


def test_a_server_goes_on_when_its_lines_are_read_no_more(tmp_path: Path, code: Path) -> None:
    serving = subprocess.Popen(
        [*HARNESS, "serve", "--port=0", str(code)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert serving.stdout is not None
        lines = [serving.stdout.readline()]
        while not lines[-1].startswith(READY):
            lines.append(serving.stdout.readline())
        serving.stdout.close()
        url = next(line.split()[1] for line in lines if line.startswith("  server "))
        body = {"queue": "inference", "hostname": "h", "os": "linux", "version": "1"}
        headers = {"Authorization": "Bearer dev-key"}

        answers = [
            httpx.post(
                f"{url}/worker/register", json=body, headers=headers, trust_env=False, timeout=60
            ).status_code
            for _ in range(2)
        ]

        assert answers == [200, 200]
    finally:
        serving.terminate()
        assert serving.wait(60) == 0


def test_a_folder_that_changed_is_served_anew_to_the_next_worker(tmp_path: Path, code: Path) -> None:
    with program(tmp_path / "run", "serve", "--port=0", "--repo", str(code)) as serving:
        serving.shows(READY)
        url = register(serving).json()["deployment"]["git_url"]
        assert cloned(url, tmp_path / "first") == {"main.py": "print('one')\n"}

        (code / "main.py").unlink()
        (code / "other.py").write_text("print('two')\n")
        register(serving)

        assert cloned(url, tmp_path / "second") == {"other.py": "print('two')\n"}
        serving.shows("(new: the folder changed)")
        assert serving.out.count("a worker registers for inference: task code at ") == 2
    assert sorted(path.name for path in code.iterdir()) == ["other.py"]


def test_the_compose_file_is_understood_as_it_stands(tmp_path: Path) -> None:
    # given its command, and only where it listens and finds Redis changed
    compose = yaml.safe_load((ROOT / "compose" / "harness" / "compose.yml").read_text())
    name, command, *arguments = compose["services"]["server"]["command"]
    assert (name, command) == ("runqy-harness", "serve")
    own = RedisServer(tmp_path / "redis")
    here = {"--host": "127.0.0.1", "--port": "0"}
    with own:
        here["--redis-url"] = own.url
        options = [
            f"{option}={here.get(option, value)}"
            for option, _, value in (a.partition("=") for a in arguments)
        ]

        with program(tmp_path / "run", command, *options) as serving:
            serving.shows(READY)
            answer = register(serving).json()

    # then
    assert set(here) <= {argument.partition("=")[0] for argument in arguments}
    assert answer["deployment"]["git_url"] == "git://code/task"
    assert answer["deployment"]["startup_cmd"] == "python main.py"
    assert answer["vaults"] == {"GREETING": "hello from the vault"}
    assert "hello from the vault" not in serving.out


def test_every_option_of_a_queue_reaches_the_worker(tmp_path: Path) -> None:
    with program(
        tmp_path / "run",
        "serve",
        "--port=0",
        "--handler=echo",
        "--repo=https://example.org/code.git",
        "--queue=alpha",
        "--queue=beta",
        "--sub-queue=high:9",
        "--sub-queue=low:1",
        "--mode=one_shot",
        "--startup-cmd=python -m task",
        "--startup-timeout=7",
        "--no-results",
        "--code-path=sub",
        "--branch=v1",
        "--vault=A=1",
        "--vault=B=x=y",
        "--git-token=t",
    ) as serving:
        serving.shows(READY)
        alpha, beta = register(serving, "alpha").json(), register(serving, "beta").json()

    assert printed_variables(serving)["RUNQY_QUEUES"] == "alpha,beta"
    assert beta["sub_queues"] == [{"name": "beta.high", "priority": 9}, {"name": "beta.low", "priority": 1}]
    assert beta["deployment"] == {
        "git_url": "https://example.org/code.git",
        "branch": "v1",
        "code_path": "sub",
        "startup_cmd": "python -m task",
        "mode": "one_shot",
        "startup_timeout_secs": 7,
        "redis_storage": False,
        "vaults": ["local"],
    }
    assert (beta["vaults"], beta["git_token"]) == ({"A": "1", "B": "x=y"}, "t")
    assert alpha["deployment"]["git_url"].startswith(printed_variables(serving)["RUNQY_SERVER_URL"])


def test_a_redis_that_starts_later_is_waited_for(tmp_path: Path, code: Path) -> None:
    with RedisServer(tmp_path / "redis") as own:
        own.stop()
        with program(tmp_path / "run", "serve", "--port=0", f"--redis-url={own.url}", str(code)) as serving:
            wait.until(lambda: any((tmp_path / "run" / "tmp").iterdir()), 60, "its start", serving.said)
            assert READY not in serving.out
            own.start()
            serving.shows(READY)
        assert own.client().ping()


def test_a_redis_that_never_answers_is_an_error_without_its_password(
    tmp_path: Path, code: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness import cli
    from harness.dev import serve

    monkeypatch.setattr(serve, "REDIS_PATIENCE_S", 0.1)

    status = cli.run(["serve", "--port=0", "--redis-url=redis://:canary@127.0.0.1:9/0", str(code)])

    error = capsys.readouterr().err
    assert status == 1
    assert "127.0.0.1:9" in error
    assert "canary" not in error


def test_workers_elsewhere_are_told_of_redis_by_another_name(tmp_path: Path, code: Path) -> None:
    with (
        RedisServer(tmp_path / "redis", password="p w") as own,
        program(
            tmp_path / "run",
            "serve",
            "--port=0",
            f"--redis-url={own.url}",
            "--redis-host-for-workers=host.docker.internal",
            str(code),
        ) as serving,
    ):
        serving.shows(READY)
        told = register(serving).json()["redis"]

    assert told["addr"] == f"host.docker.internal:{own.port}"
    assert told["password"] == "p w"


def test_a_port_that_is_taken_is_named(tmp_path: Path, code: Path) -> None:
    with program(tmp_path / "run", "serve", "--port=0", str(code)) as serving:
        serving.shows(READY)
        port = printed_variables(serving)["RUNQY_SERVER_URL"].rpartition(":")[2]

        second = harness("serve", f"--port={port}", str(code))

    assert second.returncode == 1
    assert f"--port {port}: Address already in use" in second.stderr
    assert len(second.stderr.splitlines()) == 1


# What makes no sense ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", ["no command", "demo, init, dev, test, serve"]),
        ("frob", ["'frob'", "demo, init, dev, test, serve"]),
        ("serve", ["FOLDER", "--repo", "--handler"]),
        ("serve . --port x", ["--port", "'x'", "0 to 65535"]),
        ("serve . --port 65536", ["--port", "'65536'", "0 to 65535"]),
        ("serve /no/such/folder", ["FOLDER", "'/no/such/folder'", "a folder"]),
        ("serve --repo nowhere", ["--repo", "'nowhere'", "a folder"]),
        ("serve --handler nope", ["--handler", "'nope'", "echo"]),
        ("serve . --mode fast", ["--mode", "'fast'", "one_shot"]),
        ("serve . --redis-url http://x", ["--redis-url", "'http://x'", "redis://"]),
        ("serve . --redis-host-for-workers h", ["--redis-host-for-workers", "--redis-url"]),
        ("serve . --sub-queue high", ["--sub-queue", "'high'", "NAME:PRIORITY"]),
        ("serve . --sub-queue high:0", ["--sub-queue", "'high:0'", "NAME:PRIORITY"]),
        ("serve . --queue a.b", ["--queue", "'a.b'", "parent"]),
        ("serve . --queue a --queue b", ["--queue", "2", "1"]),
        ("serve . . --queue a --queue a", ["--queue", "a, a", "different"]),
        ("serve . --startup-timeout 0", ["--startup-timeout", "'0'", "1 or more"]),
        ("serve . --frob", ["--frob"]),
        ("serve . --por 1", ["--por"]),
        ("demo --handler nope", ["--handler", "'nope'", "demo"]),
        ("demo --worker ''", ["--worker", "''", "a command"]),
        ("enqueue {}", ["--queue"]),
        ("enqueue --queue q", ["PAYLOAD"]),
        ("enqueue --queue q nonsense", ["PAYLOAD", "'nonsense'", "a JSON object"]),
        ("enqueue --queue q [1]", ["PAYLOAD", "'[1]'", "a JSON object"]),
        ("enqueue --queue q --server nowhere {}", ["--server", "'nowhere'", "http://"]),
        ("enqueue --queue q --count 0 {}", ["--count", "'0'", "1 or more"]),
        ("enqueue --queue q --timeout -1 {}", ["--timeout"]),
    ],
)
def test_a_command_line_that_makes_no_sense_is_one_line_with_option_value_and_what_is_allowed(
    arguments: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    from harness import cli

    try:
        status: Any = cli.run(shlex.split(arguments))
    except SystemExit as end:
        status = end.code

    said = capsys.readouterr()
    assert status == 2
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert [word for word in words if word not in said.err] == [], said.err


@pytest.mark.parametrize("value", ["9x=canary", "canary", "=canary"])
def test_a_vault_that_makes_no_sense_is_refused_without_its_value(value: str) -> None:
    done = harness("serve", ".", "--vault", value)

    assert done.returncode == 2
    assert "--vault" in done.stderr
    assert "canary" not in done.stderr


def test_help_names_every_command_and_option() -> None:
    assert all(name in harness("--help").stdout for name in ("demo", "serve", "enqueue"))
    options = set(re.findall(r"--[a-z-]+", harness("serve", "--help").stdout))
    assert {"--host", "--port", "--redis-url", "--repo", "--handler", "--queue", "--vault"} <= options


# enqueue ---------------------------------------------------------------------------------------------


@pytest.fixture
def db(tmp_path: Path) -> Iterator[redis.Redis]:
    with RedisServer(tmp_path / "redis") as server:
        yield server.client()


@pytest.fixture
def server(db: redis.Redis) -> Iterator[FakeServer]:
    port = db.connection_pool.connection_kwargs["port"]
    with FakeServer(
        f"redis://127.0.0.1:{port}/0", [QueueConfig(name="inference", git_url="unused://")]
    ) as running:
        yield running


def at(server: FakeServer) -> tuple[str, ...]:
    return "--server", server.url, "--key", server.client_key, "--queue", "inference"


@pytest.fixture
def enqueue(server: FakeServer) -> Callable[..., subprocess.CompletedProcess[str]]:
    def call(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return harness("enqueue", *at(server), *arguments, **options)

    return call


Enqueue = Callable[..., subprocess.CompletedProcess[str]]


class Answering:
    """Stands in for a worker: every pending task ends as its payload says."""

    def __init__(self, db: redis.Redis) -> None:
        self._db = db
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            task_id = self._db.rpop(asynq.key(Q, "pending"))
            if task_id is not None:
                self._end(task_id.decode())

    def _end(self, task_id: str) -> None:
        task = asynq.get_task(self._db, Q, task_id)
        assert task is not None
        payload = json.loads(task.message["payload"])
        outcome: dict[str, Any] = {"state": "completed", "result": json.dumps({"got": payload})}
        if "fail" in payload:
            failed = wire.encode({**task.message, "error_msg": payload["fail"]})
            outcome = {"state": "archived", "msg": failed}
        self._db.hset(asynq.task_key(Q, task_id), mapping=outcome)


def test_enqueue_prints_the_ids_of_what_it_sent(enqueue: Enqueue, db: redis.Redis) -> None:
    one = enqueue("--timeout=17", '{"n": "ü"}')
    several = enqueue("--count=3", '{"n": 2}')

    assert (one.returncode, several.returncode) == (0, 0), one.stderr + several.stderr
    assert asynq.get_pending(db, Q) == [*one.stdout.split(), *several.stdout.split()]
    task = asynq.get_task(db, Q, one.stdout.strip())
    assert task is not None
    assert (json.loads(task.message["payload"]), task.message["timeout"]) == ({"n": "ü"}, 17)


def test_enqueue_reads_one_object_a_line_from_stdin(enqueue: Enqueue, db: redis.Redis) -> None:
    done = enqueue("-", input='{"n": 1}\n\n{"n": 2}\n')

    ids = done.stdout.split()
    assert asynq.get_pending(db, Q) == ids
    tasks = [asynq.get_task(db, Q, task_id) for task_id in ids]
    assert [task and json.loads(task.message["payload"]) for task in tasks] == [{"n": 1}, {"n": 2}]


def test_a_bad_line_on_stdin_sends_nothing(enqueue: Enqueue, db: redis.Redis) -> None:
    done = enqueue("-", input='{"n": 1}\n{"n": \n')

    assert done.returncode == 2
    assert asynq.get_pending(db, Q) == []


def test_waiting_prints_results_in_the_order_of_sending(enqueue: Enqueue, db: redis.Redis) -> None:
    with Answering(db):
        done = enqueue("--wait", "-", input='{"n": 1}\n{"n": 2}\n')

    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["result"] for answer in answers] == [{"got": {"n": 1}}, {"got": {"n": 2}}]


def test_a_task_that_failed_is_shown_with_its_error_and_makes_the_status_1(
    enqueue: Enqueue, db: redis.Redis
) -> None:
    with Answering(db):
        done = enqueue("--wait", "-", input='{"fail": "ValueError: no"}\n{"n": 2}\n')

    assert done.returncode == 1
    failed, good = (json.loads(line) for line in done.stdout.splitlines())
    assert (failed["state"], failed["error"], failed["result"]) == ("archived", "ValueError: no", None)
    assert good["state"] == "completed"


def test_waiting_ends_when_its_time_is_up(enqueue: Enqueue) -> None:
    done = enqueue("--wait", "--wait-timeout=1", "{}")

    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["state"] == "pending"
    assert "in time" in answer["error"]


def test_a_task_whose_result_is_not_kept_does_not_make_it_wait_for_ever(
    enqueue: Enqueue, db: redis.Redis
) -> None:
    def forget() -> bool:
        return any(db.delete(key) for key in db.scan_iter(asynq.task_key(Q, "*")))

    thread = threading.Thread(target=lambda: wait.until(forget, 60, "a task to forget"), daemon=True)
    thread.start()
    done = enqueue("--wait", "{}")
    thread.join()

    assert done.returncode == 1
    assert json.loads(done.stdout)["state"] == "gone"


def test_server_and_key_come_from_the_environment(server: FakeServer, db: redis.Redis) -> None:
    import os

    env = {**os.environ, "RUNQY_SERVER_URL": server.url, "RUNQY_CLIENT_KEY": server.client_key}

    done = harness("enqueue", "--queue=inference", "{}", env=env)

    assert done.returncode == 0, done.stderr
    assert asynq.get_pending(db, Q) == done.stdout.split()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--queue=training"], ["training", "not found"]),
        (["--key=wrong"], ["Authentication"]),
        (["--server=http://127.0.0.1:9"], ["http://127.0.0.1:9", "refused"]),
    ],
)
def test_what_the_server_refuses_is_one_line(
    enqueue: Enqueue, arguments: list[str], words: list[str]
) -> None:
    done = enqueue(*arguments, "{}")

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert [word for word in words if word not in done.stderr] == []


def test_who_waits_for_results_waits_for_a_server_that_is_about_to_start(
    server: FakeServer, tmp_path: Path, db: redis.Redis
) -> None:
    # given
    server.stop()

    # when
    with Answering(db), program(tmp_path / "run", "enqueue", *at(server), "--wait", '{"n": 1}') as waiting:
        wait.until(lambda: "waiting for it" in waiting.err, 60, "it to be refused", waiting.said)
        server.start()
        status = waiting.process.wait(60)

    # then
    assert status == 0, waiting.said()
    assert json.loads(waiting.out)["result"] == {"got": {"n": 1}}
    assert len(waiting.err.splitlines()) == 1


def test_a_server_that_does_not_start_in_that_time_is_named(enqueue: Enqueue, server: FakeServer) -> None:
    server.stop()

    done = enqueue("--wait", "--wait-timeout=1", "{}")

    assert done.returncode == 1
    waiting, last = done.stderr.splitlines()
    assert "waiting for it" in waiting
    assert last.endswith(f"{server.url}: Connection error: [Errno 111] Connection refused")


@pytest.mark.parametrize("payload", ["{}", "{}\n{}"], ids=["one", "several"])
def test_what_the_server_may_have_taken_is_not_sent_again(payload: str) -> None:
    # given a server that takes tasks and answers what no client understands
    asked: list[str] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"null")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"

        # when
        arguments = ("--server", url, "--key=k", "--queue=inference", "--wait", "--wait-timeout=1", "-")
        done = harness("enqueue", *arguments, input=payload)
        server.shutdown()

    # then
    assert done.returncode == 1
    assert len(asked) == 1


def test_an_interrupted_wait_ends_at_once_with_the_signals_status(
    server: FakeServer, tmp_path: Path, db: redis.Redis
) -> None:
    with program(tmp_path / "run", "enqueue", *at(server), "--wait", "{}") as waiting:
        wait.until(lambda: asynq.get_pending(db, Q), 60, "the task", waiting.said)
        wait.until(lambda: len(server.requests) > 1, 60, "it to wait", waiting.said)

        assert waiting.end(signal.SIGINT) == 128 + signal.SIGINT
