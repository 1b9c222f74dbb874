"""The local server's page in a browser: live, harmless, sent from by hand, and readable on a phone."""

import json
import shutil
import time
from collections.abc import Iterator

import pytest
import redis

from harness import wait
from harness.queue import asynq
from harness.queue.asynq import NewTask
from harness.sandbox.redis import RedisServer
from harness.server.config import QueueConfig
from harness.server.fake import FakeServer
from tests.integration.browser import Browser, browser

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium to look at pages with")

Q = "inference.default"
#: What would run if anything of it were taken for HTML.
HOSTILE = "<img src=x onerror=hacked=1><script>hacked=1</script>\"'><b>"
#: Whether all that is shown is within the window, and every cell where it can be seen.
FITS = """(() => {
  const width = document.documentElement.clientWidth;
  const seen = [...document.querySelectorAll("td, dd, h1, h2, pre, input, textarea, button, a")];
  const outside = seen.filter(each => {
    const box = each.getBoundingClientRect();
    return box.width > 0 && (box.left < 0 || box.right > width + 1);
  });
  if (document.documentElement.scrollWidth > width) return ["the page itself"];
  return outside.map(each => each.outerHTML);
})()"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture
def server(redis_server: RedisServer, db: redis.Redis) -> Iterator[FakeServer]:
    with FakeServer(redis_server.url, [QueueConfig(name="inference", git_url="unused://")]) as running:
        yield running


def pending(db: redis.Redis) -> list[str]:
    return asynq.get_pending(db, Q)


def test_what_happens_is_seen_without_reloading_and_nothing_hostile_runs(
    page: Browser, server: FakeServer, db: redis.Redis
) -> None:
    page.go(server.url)
    page.until("document.getElementById('fresh').textContent === 'live'")
    page.run("marked = 'the same page'")

    asynq.seed_pending(db, Q, NewTask({"say": HOSTILE}, id=f"1{HOSTILE}", type=HOSTILE))
    asynq.seed_archived(db, Q, NewTask({}, id="2"), error=HOSTILE, purge_at_s=time.time() + 600)
    page.until("document.getElementById('tasks').innerText.includes('onerror=hacked=1')")
    page.run("document.querySelector('#tasks a[href*=archived]').focus()")
    page.run("getSelection().selectAllChildren(document.querySelector('#queues td'))")
    asynq.seed_pending(db, Q, NewTask({}, id="3"))
    page.until("document.querySelectorAll('#tasks tbody tr').length === 3")

    assert page.run("marked") == "the same page"
    assert page.run("document.activeElement.textContent") == "archived", "the focus stays where it was"
    assert page.run("getSelection().toString()") == Q, "what is selected stays so"
    page.run("getSelection().removeAllRanges()")
    page.until("document.querySelector('#queues td a[href*=pending]').textContent === '2'")
    page.run(f"location.href = document.querySelector('#tasks a[href*={json.dumps('task=2')}]').href")
    page.until("document.querySelector('#task pre.bad')?.innerText.includes('onerror=hacked=1')")
    assert page.run("[typeof hacked, document.querySelectorAll('main img, main script, main b').length]") == [
        "undefined",
        0,
    ]


def test_a_task_is_sent_by_hand_and_a_slip_costs_nothing_that_was_typed(
    page: Browser, server: FakeServer, db: redis.Redis
) -> None:
    page.go(server.url)
    page.run("document.querySelector('details').open = true")
    page.run(
        "document.querySelector('textarea').value = '{\"n\": '; document.querySelector('button').click()"
    )
    page.until("document.querySelector('[role=alert]')?.innerText.includes('the payload is no JSON')")

    page.run("document.querySelector('textarea').value += '17}'; document.querySelector('button').click()")
    page.until("document.querySelector('#task pre')?.innerText === '{\"n\":17}'")
    (task_id,) = pending(db)
    assert page.run("document.querySelector('#task h2').innerText") == task_id

    page.run("document.querySelector('details').open = true")
    page.run("document.querySelector('button').click()")
    wait.until(lambda: len(pending(db)) == 2, 60, "the task to be sent again")


def test_another_site_cannot_send_by_the_form(page: Browser, server: FakeServer, db: redis.Redis) -> None:
    form = f'<form method=post action="{server.url}/_harness/page/send">'
    fields = f"<input name=queue value={Q}><input name=payload value=1>"
    page.go(f"data:text/html,{form}{fields}</form><script>document.forms[0].submit()</script>")

    page.until("document.body.innerText.startsWith('asked for by another site')")
    assert pending(db) == []


@pytest.mark.parametrize("width", [360, 1100])
def test_everything_is_within_the_window(
    page: Browser, server: FakeServer, db: redis.Redis, width: int
) -> None:
    long = "a-name-that-is-long-and-has-no-blank" * 4
    asynq.seed_retry(db, Q, NewTask({"text": long}, id=long, retried=2), due_s=time.time() + 600, error=long)
    asynq.seed_completed(db, Q, NewTask([long] * 9, id="done"), result=b'"ok"', purge_at_s=time.time() + 600)
    beat = {"worker_id": long, "queues": f"map[{Q}:1 {long}:2]", "status": "running", "healthy": "1"}
    recovery = {long: {"state": "recovering", "consecutive_fails": 2, "total_restarts": 7}}
    now = str(int(time.time()))
    beat |= {"last_beat": now, "started_at": now, "concurrency": "1", "recovery": json.dumps(recovery)}
    db.hset(asynq.worker_key(long), mapping=beat)
    db.zadd(asynq.WORKERS, {long: time.time() + 1800})
    page.look(width)

    for query in ("", f"?task={long}", "?task=done", f"?worker={long}"):
        page.go(f"{server.url}/{query}")
        page.until("document.documentElement.dataset.updates > 0")
        page.run("document.querySelector('details').open = true")
        assert page.run(FITS) == [], query
    page.run("document.querySelector('h2').style.whiteSpace = 'nowrap'")
    assert page.run(FITS) != [], "this would be seen"
