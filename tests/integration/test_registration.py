"""Registering over HTTP: asked as the wire says, again where that can help, and never at the key's cost."""

import json
import platform
import random
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any

import pytest
from structlog.testing import capture_logs

from appliance.clock import SystemClock
from appliance.config.settings import BootstrapSettings, ServerSettings
from appliance.control import registration
from appliance.control.registration import MAX_BODY_BYTES, Registrar, Timeouts
from appliance.errors import RegistrationRejected, RegistrationUnavailable
from harness.server.config import QueueConfig
from harness.server.fake import FakeServer
from harness.server.faults import Fault
from tests.integration.world import World

PATH = "/worker/register"
KEY = "canary-key"
PATIENT = Timeouts()
GOOD = json.dumps(
    {
        "redis": {"addr": "127.0.0.1:6379"},
        "queue": {"name": "inference"},
        "deployment": {"git_url": "file:///r", "branch": "main", "startup_cmd": "python main.py"},
    }
).encode()


class Waiting(SystemClock):
    """Real time, but waits are written down and over at once."""

    def __init__(self) -> None:
        self.waits_s: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)


def registrar(
    url: str, key: str = KEY, retries: int = 2, clock: Waiting | None = None, timeouts: Timeouts = PATIENT
) -> Registrar:
    return Registrar(
        ServerSettings(url, key),
        BootstrapSettings(retries, retry_delay_s=2.0),
        clock or Waiting(),
        "1.2.3",
        random.Random(1),
        timeouts,
    )


class RawServer:
    """Answers each connection with the next of ``answers``, the last for ever; keeps what it was sent."""

    def __init__(self, answers: list[Callable[[socket.socket], None]]) -> None:
        self._answers = answers
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                request = _request(connection)
                if not request:
                    continue
                self.requests.append(request)
                answer = self._answers[min(len(self.requests), len(self._answers)) - 1]
                try:
                    answer(connection)
                except OSError:
                    continue  # the client had heard enough

    def close(self) -> None:
        # Closing alone does not wake who waits in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _request(connection: socket.socket) -> bytes:
    """A whole request; nothing where the client hung up without one."""
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(65536)
        if not more:
            return b""
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    (length,) = (
        int(line.split(b":")[1]) for line in head.splitlines() if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def raw(*answers: Callable[[socket.socket], None]) -> Iterator[RawServer]:
    server = RawServer(list(answers))
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(10)


def http(status: int, body: bytes = b"{}", **headers: str) -> Callable[[socket.socket], None]:
    """An answer, whole."""
    named = {"Content-Length": str(len(body)), "Connection": "close"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return lambda connection: connection.sendall(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body)


def hang(connection: socket.socket) -> None:
    connection.recv(1)


def hang_up(connection: socket.socket) -> None:
    return


def drip(connection: socket.socket) -> None:
    """A byte now and then, each before any read is late."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    connection.settimeout(0.05)
    while True:
        connection.sendall(b" ")
        try:
            if not connection.recv(1):
                return
        except TimeoutError:
            continue


def test_the_request_and_the_answer_are_those_of_the_wire(world: World) -> None:
    world.server.configure(
        QueueConfig(
            "inference",
            "https://git.test/r.git",
            sub_queues={"low": 1, "high": 9},
            code_path="sub",
            vaults={"keys": {"A": "1"}},
            git_token="token",
        )
    )

    found = registrar(world.server.url, world.server.worker_key).register("inference")

    (request,) = world.server.requests_to(PATH)
    assert world.server.complaints == ()
    assert request.body == {
        "queue": "inference",
        "hostname": socket.gethostname(),
        "os": platform.system().lower(),
        "version": "1.2.3",
    }
    assert [(queue.name, queue.priority) for queue in found.sub_queues] == [
        ("inference.high", 9),
        ("inference.low", 1),
    ]
    assert found.deployment.code_path == "sub"
    assert found.vaults == {"A": "1"}
    assert found.git_token == "token"


def test_the_headers_are_those_of_the_wire_whatever_slash_the_address_ends_in() -> None:
    with raw(http(200, GOOD)) as server:
        registrar(f"{server.url}/base/").register("inference")

    first, *headers = server.requests[0].partition(b"\r\n\r\n")[0].decode().split("\r\n")
    named = {name.lower(): value for name, value in (line.split(": ", 1) for line in headers)}
    assert first == "POST /base/worker/register HTTP/1.1"
    assert named["authorization"] == f"Bearer {KEY}"
    assert named["content-type"] == "application/json"
    assert named["accept-encoding"] == "identity"


def test_a_worker_without_a_host_name_says_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "")
    with raw(http(200, GOOD)) as server:
        registrar(server.url).register("inference")

    assert json.loads(server.requests[0].partition(b"\r\n\r\n")[2])["hostname"] == "unknown"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 422, 431, 451])
def test_a_refusal_that_stays_is_final_at_once(status: int) -> None:
    with raw(http(status, b'{"error": "the reason"}')) as server:
        clock = Waiting()
        with pytest.raises(RegistrationRejected, match=rf"answered {status}: the reason") as refused:
            registrar(server.url, clock=clock).register("inference")

    assert len(server.requests) == 1
    assert clock.waits_s == []
    assert ("RUNQY_API_KEY" in str(refused.value)) == (status in {401, 403})


def test_the_fake_servers_refusals_are_final_and_say_why(world: World) -> None:
    for key, queue, why in [
        ("not-the-key", "inference", "401: access unauthorized"),
        (world.server.worker_key, "nope", "404: queue 'nope' not found"),
    ]:
        with pytest.raises(RegistrationRejected, match=why):
            registrar(world.server.url, key).register(queue)

    assert len(world.server.requests_to(PATH)) == 2


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_a_refusal_that_can_pass_is_asked_again_as_often_as_configured(world: World, status: int) -> None:
    world.server.configure(QueueConfig("inference", "https://git.test/r.git"))
    world.server.faults.add(PATH, Fault(status=status))
    clock = Waiting()

    with pytest.raises(RegistrationUnavailable, match=rf"after 3 attempts: .* answered {status}"):
        registrar(world.server.url, world.server.worker_key, clock=clock).register("inference")

    assert len(world.server.requests_to(PATH)) == 3
    assert len(clock.waits_s) == 2
    assert all(2.0 <= wait_s <= 2.2 for wait_s in clock.waits_s)


def test_the_last_attempt_can_be_the_good_one(world: World) -> None:
    world.server.configure(QueueConfig("inference", "https://git.test/r.git"))
    world.server.faults.add(PATH, Fault(status=503, times=2))

    with capture_logs() as events:
        found = registrar(world.server.url, world.server.worker_key).register("inference")

    assert found.parent == "inference"
    failures = [entry for entry in events if entry["event"] == "registration.failed"]
    assert [(entry["attempt"], entry["of"]) for entry in failures] == [(1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("header", "least_s", "most_s"),
    [
        ("7", 7.0, 7.7),
        ("1", 2.0, 2.2),
        ("999999", 300.0, 330.0),
        (formatdate(time.time() + 3600, usegmt=True), 300.0, 330.0),
        (formatdate(time.time() - 3600, usegmt=True), 2.0, 2.2),
        ("soon", 2.0, 2.2),
        ("-5", 2.0, 2.2),
        ("٣", 2.0, 2.2),
        ("", 2.0, 2.2),
    ],
)
def test_a_servers_wish_to_be_asked_later_is_heard_within_bounds(
    header: str, least_s: float, most_s: float
) -> None:
    clock = Waiting()
    with raw(http(429, Retry_After=header), http(200, GOOD)) as server:
        registrar(server.url, clock=clock).register("inference")

    (wait_s,) = clock.waits_s
    assert least_s <= wait_s <= most_s


def test_a_server_that_does_not_listen_is_asked_again() -> None:
    clock = Waiting()

    with pytest.raises(RegistrationUnavailable, match=r"127\.0\.0\.1:1/worker/register cannot be reached"):
        registrar("http://127.0.0.1:1", clock=clock).register("inference")

    assert len(clock.waits_s) == 2


def test_no_retries_means_one_attempt() -> None:
    with raw(hang_up) as server, pytest.raises(RegistrationUnavailable, match="after 1 attempts"):
        registrar(server.url, retries=0).register("inference")

    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [hang, hang_up, drip, lambda connection: connection.sendall(b"SSH-2.0-OpenSSH\r\n")],
    ids=["silent", "hangs up", "drips", "speaks ssh"],
)
def test_a_server_that_answers_nothing_in_time_is_asked_again(
    answer: Callable[[socket.socket], None],
) -> None:
    began_s = time.monotonic()
    with raw(answer, http(200, GOOD)) as server:
        timeouts = Timeouts(connect_s=1, read_s=0.5, total_s=1)
        registrar(server.url, timeouts=timeouts).register("inference")

    assert len(server.requests) == 2
    assert time.monotonic() - began_s < 30


def test_an_answer_cut_short_is_asked_for_again() -> None:
    def cut(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + GOOD)

    with raw(cut, http(200, GOOD)) as server:
        registrar(server.url).register("inference")

    assert len(server.requests) == 2


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        connection.sendall(b" " * 65536)


@pytest.mark.parametrize(
    "answer", [endless, http(200, b" " * (MAX_BODY_BYTES + 1))], ids=["without end", "a byte too long"]
)
def test_an_oversized_answer_is_refused_unread(answer: Callable[[socket.socket], None]) -> None:
    with raw(answer) as server, pytest.raises(RegistrationRejected, match="more than 1048576 bytes"):
        registrar(server.url).register("inference")

    assert len(server.requests) == 1


def test_an_answer_as_large_as_allowed_is_read() -> None:
    with raw(http(200, GOOD.ljust(MAX_BODY_BYTES))) as server:
        assert registrar(server.url).register("inference").parent == "inference"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"<html>welcome</html>", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not JSON"),
        (b"[]", "the answer: must be an object"),
        (b'"text"', "the answer: must be an object"),
        (b"{}", "deployment.git_url: is missing"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_200_that_is_no_contract_is_final_and_says_what_is_wrong(body: bytes, why: str) -> None:
    with raw(http(200, body)) as server, pytest.raises(RegistrationRejected, match=why):
        registrar(server.url).register("inference")

    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_but_shown(status: int) -> None:
    with raw(http(200, GOOD)) as elsewhere:
        target = elsewhere.url.replace("//", "//user:canary-password@") + "/x?canary=1"
        with (
            raw(http(status, Location=target)) as server,
            pytest.raises(
                RegistrationRejected, match=rf"redirects \({status}\) to {elsewhere.url}/x"
            ) as refused,
        ):
            registrar(server.url).register("inference")

    assert elsewhere.requests == []
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("status", [201, 204])
def test_another_success_is_no_contract(status: int) -> None:
    body = b"" if status == 204 else GOOD
    with raw(http(status, body)) as server, pytest.raises(RegistrationRejected, match=f"answered {status}"):
        registrar(server.url).register("inference")


def test_a_compressed_answer_is_refused() -> None:
    answer = http(200, GOOD, Content_Encoding="gzip")

    with raw(answer) as server, pytest.raises(RegistrationRejected, match=r"compressed \(gzip\)"):
        registrar(server.url).register("inference")


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"error": "why"}', "400: why"),
        (b'{"errors": ["one", "two"]}', "400: one; two"),
        (b'{"other": 1}', "400: X"),
        (b"plain\r\n  text\x1b[31m", r"400: plain text$"),
        (b'"\xff"', "400: "),
        (b"x" * 5000, f"400: {'x' * 300}…$"),
        (b'{"error": "you sent Bearer canary-key"}', r"400: you sent Bearer \*+$"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_the_servers_explanation_is_quoted_in_one_short_line_without_the_key(body: bytes, shown: str) -> None:
    with raw(http(400, body)) as server, pytest.raises(RegistrationRejected, match=shown) as refused:
        registrar(server.url).register("inference")

    assert KEY not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_key_of_one_letter_is_not_masked_letter_by_letter() -> None:
    answer = http(400, b'{"error": "an answer at https://me:pw@host is a bad answer"}')

    with raw(answer) as server, pytest.raises(RegistrationRejected) as refused:
        registrar(server.url, "a").register("inference")

    assert str(refused.value).endswith("400: an answer at https://********@host is a bad answer")


@pytest.mark.parametrize("key", ["canary\nX: y", "canaryü", "canary\0"])
def test_a_key_that_no_header_can_hold_is_refused_unseen(key: str) -> None:
    with (
        capture_logs() as events,
        raw(http(200, GOOD)) as server,
        pytest.raises(RegistrationRejected, match="RUNQY_API_KEY holds characters") as refused,
    ):
        registrar(server.url, key).register("inference")

    assert "canary" not in str(refused.value)
    assert refused.value.__context__ is None
    assert "canary" not in str(events)
    assert server.requests == []


@pytest.mark.parametrize("url", ["http://", "nonsense", "http://[::1", "ftp://h"])
def test_an_address_that_is_none_is_final(url: str) -> None:
    clock = Waiting()

    with pytest.raises(RegistrationRejected):
        registrar(url, clock=clock).register("inference")

    assert clock.waits_s == []


def test_a_certificate_that_nobody_vouches_for_is_final_and_says_what_helps(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = tmp_path / "cert.pem"
    _self_signed(certificate)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))

    def shake_hands() -> None:
        connection, _ = listener.accept()
        with connection, pytest.raises((ssl.SSLError, OSError)):
            context.wrap_socket(connection, server_side=True).recv(1)

    thread = threading.Thread(target=shake_hands, daemon=True)
    thread.start()

    with pytest.raises(RegistrationRejected, match="SSL_CERT_FILE"):
        registrar(f"https://127.0.0.1:{listener.getsockname()[1]}").register("inference")
    thread.join(10)
    listener.close()


@pytest.mark.parametrize(
    ("server", "proxy", "asked_for"),
    [
        ("http://server.test", None, False),
        ("http://server.test", "http://proxy.test", False),
        ("HTTPS://server.test", None, True),
        ("https://server.test", "http://proxy.test", True),
        ("http://server.test", "https://proxy.test", True),
    ],
)
def test_authorities_are_read_where_tls_is_spoken_and_else_no_certificate_is_trusted(
    server: str, proxy: str | None, asked_for: bool
) -> None:
    context = registration._authorities(server, proxy)

    assert bool(context.get_ca_certs() or context.cert_store_stats()["x509"]) == asked_for
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def _self_signed(path: Any) -> None:
    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=127.0.0.1",
    ]
    subprocess.run([*argv, "-keyout", str(path), "-out", str(path) + ".crt"], check=True, capture_output=True)
    path.write_text(path.read_text() + path.with_name(path.name + ".crt").read_text())


def test_a_server_that_comes_back_on_its_address_is_found(world: World) -> None:
    port = world.server.port
    world.server.stop()
    again = FakeServer(world.redis.url, [QueueConfig("inference", "https://git.test/r.git")], port=port)

    class Reviving(Waiting):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            again.start()

    with again:
        again.stop()
        found = registrar(world.server.url, again.worker_key, clock=Reviving()).register("inference")
    assert found.parent == "inference"


def test_a_host_name_that_is_no_utf8_is_no_reason_not_to_register(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.server.configure(QueueConfig(name="inference", git_url="file:///r"))
    monkeypatch.setattr(socket, "gethostname", lambda: "host\udcff")

    registrar(world.server.url, world.server.worker_key).register("inference")

    assert world.server.requests_to(PATH)[-1].body["hostname"] == "host?"
