"""The attacker is task code that prints what it knows in disguise, and asks the status about its guesses."""

import base64
import html
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from appliance.clock import SystemClock
from appliance.deploy.command import Command, Limits, Runner
from appliance.errors import CommandFailed
from appliance.observe.redaction import Redactor
from harness import wait
from harness.queue import asynq
from harness.sandbox.ports import free_port
from harness.sandbox.runtimes.process import WorkerProcess
from tests.integration import world as worlds
from tests.integration.world import QUEUE, World

HERE = Path(__file__).parent
MASK = "********"
LINES = [base64.b64encode(bytes((n * 37 + i * 11) % 256 for i in range(48))).decode() for n in range(4)]
TOKEN, PASSWORD, CLIENT = "tok/en+\"canary'<81>&", "pass/word-canary:82", "client-canary-83"
VAULTS = {
    "TOKEN": TOKEN,
    "DSN": f"postgres://me:{quote(PASSWORD, safe='')}@db/tasks",
    "ACCOUNT": json.dumps(
        {
            "client": {"id": CLIENT},
            "key": "\n".join(("-----BEGIN PRIVATE KEY-----", *LINES, "-----END PRIVATE KEY-----")),
        },
        indent=2,
    ),
    "LONG": "".join(LINES) * 100,
}


@dataclass
class Talker:
    """A worker whose task code prints and guesses; ``url`` is its HTTP face."""

    world: World
    worker: WorkerProcess
    url: str
    done: set[str] = field(default_factory=set)

    def run(self, **payload: Any) -> str:
        """Run a task to its end; its id."""
        (task_id,) = self.world.seed(1, payload)
        wait.until(
            lambda: asynq.where_is(self.world.db, QUEUE, task_id) in {"completed", "archived"},
            60,
            str(payload),
            self.worker.tail,
        )
        return task_id

    def places(self) -> dict[str, str]:
        """Everywhere that text leaves the worker, but for its log."""
        pages = self.world.result(self.run(do="look", url=self.url))
        return {**pages, "Redis": self.world.everything_in_redis()}


def _talker(world: World, port: int, *command: str) -> Talker:
    world.serve({"main.py": (HERE / "inside" / "prints.py").read_text()}, vaults={"v": VAULTS})
    worker = world.worker(command, RUNQY_HTTP_ADDR=f"127.0.0.1:{port}")
    return Talker(world, worker, f"http://127.0.0.1:{port}")


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talker]:
    with worlds.world(tmp_path_factory.mktemp("held")) as world:
        yield _talker(world, free_port(), sys.executable, "-m", "appliance")


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talker]:
    with worlds.world(tmp_path_factory.mktemp("leaky")) as world:
        yield _talker(world, free_port(), sys.executable, str(HERE / "leaky.py"))


def disguises(secret: str) -> set[str]:
    """What of each way to write ``secret`` must stand nowhere, made without the worker's own code."""
    encoded = secret.encode()
    found = {
        secret,
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        quote(secret, safe=""),
        html.escape(secret),
        encoded.hex(),
        encoded.hex().upper(),
        secret[:3] + "\x1b[1;31m" + secret[3:],
        secret[:5] + "\u200b" + secret[5:],
    }
    for before in (b"", b"x", b"me:"):
        text = base64.b64encode(before + encoded).decode()
        # Between the characters that what stands around it has a part in.
        found.add(text[len(before) * 8 // 6 + 1 : len(text.rstrip("=")) - 1])
    return found


def leaks(places: dict[str, str]) -> set[tuple[str, str]]:
    """Place and piece of each secret that is somewhere."""
    pieces = {piece for secret in (TOKEN, PASSWORD, CLIENT, *LINES) for piece in disguises(secret)}
    # A long one in part, too: most of a line of a key is as good as all of it.
    pieces |= {piece[at : at + 24] for piece in pieces for at in range(0, max(1, len(piece) - 23), 8)}
    # JSON in Redis and in the log escapes what it holds once more.
    pieces |= {json.dumps(piece)[1:-1] for piece in pieces}
    return {(place, piece) for place, text in places.items() for piece in pieces if piece in text}


def _said(talker: Talker) -> dict[str, str]:
    talker.run(do="print")
    talker.run(do="fail")
    talker.run(do="die")
    talker.world.event(talker.worker, "process.crashed")
    wait.until(
        lambda: talker.world.db.keys("asynq:crashes:*") and talker.world.db.keys("asynq:workers:*:logs"),
        60,
        "lines and dossier in Redis",
        talker.worker.tail,
    )
    return {**talker.places(), "log": talker.worker.log_text()}


def test_what_task_code_prints_in_disguise_is_masked_wherever_it_goes(held: Talker) -> None:
    places = _said(held)

    assert MASK in places["log"]
    assert MASK in places["Redis"]
    assert not leaks(places)


def test_a_worker_that_masks_secrets_only_as_they_stand_is_found_out(leaky: Talker) -> None:
    assert {place for place, _ in leaks(_said(leaky))} >= {"log", "Redis"}


def _pages_after(talker: Talker, guess: str) -> str:
    task_id = talker.run(do="guess", guess=guess)

    def pages() -> str:
        # From inside the task process: what the attacker sees. Answers are made now and then, not each time.
        found = talker.world.result(talker.run(do="look", url=talker.url))
        return "\n".join(found.values()) if task_id in found["/status"] else ""

    return str(wait.until(pages, 60, f"a page that has heard of {task_id}", talker.worker.tail))


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_no_page_says_whether_a_guess_is_right(held: Talker, right: bool) -> None:
    guess = held.world.server.worker_key if right else "a-guess-of-the-api-key"

    pages = _pages_after(held, guess)

    assert "process.output" in pages
    assert MASK not in pages
    assert guess not in pages


def test_a_page_that_shows_what_tasks_say_is_found_out(leaky: Talker) -> None:
    wrong, right = "a-guess-of-the-api-key", leaky.world.server.worker_key

    assert wrong in _pages_after(leaky, wrong)
    assert f"is it {MASK} ?" in _pages_after(leaky, right)


def test_what_pip_prints_of_a_requirement_holds_no_token(tmp_path: Path) -> None:
    token, said = "pip-token-canary-84", list[str]()
    (tmp_path / "requirements.txt").write_text("nothing @ git+https://me:${TOKEN}@127.0.0.1:9/nothing.git\n")
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--retries", "0", "-r", "requirements.txt")
    command = Command(pip, tmp_path, {**os.environ, "TOKEN": token})

    with pytest.raises(CommandFailed):
        Runner(SystemClock(), str, said.append).run(command, Limits(100, 100))

    # It does print it, else this shows nothing; the worker does not know this token.
    assert any(token in line for line in said)
    assert not any(token in Redactor().text(line) for line in said)
