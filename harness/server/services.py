"""What the routes work with."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from harness.server.age import RULES, Rules
from harness.server.behaviour import Behaviour
from harness.server.inspector import Inspector
from harness.server.overview import Overview
from harness.server.page.page import Page
from harness.server.state import State
from harness.server.writes import Write, Writer

Parameters = Mapping[str, str]


@dataclass(frozen=True)
class Services:
    """One running server's. ``redis_url`` is where workers are sent, ``redis_url_here`` how we reach it.

    ``stopping`` ends every wait.
    """

    state: State
    behaviour: Behaviour
    rules: Rules
    redis_url: str
    redis_url_here: str
    db: redis.Redis
    writer: Writer
    inspector: Inspector
    overview: Overview
    page: Page
    stopping: threading.Event

    def close(self) -> None:
        """End every wait and give the connections to Redis back."""
        self.stopping.set()
        self.db.close()


def connect(url: str) -> redis.Redis:
    """A client that fails at once while Redis is away."""
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=2)


def build(
    state: State, behaviour: Behaviour, redis_url: str, redis_url_for_workers: str, page_key: str
) -> Services:
    """The services of a server that is about to start."""
    db, rules, stopping = connect(redis_url), RULES[behaviour.age], threading.Event()

    def before(step: Write) -> None:
        behaviour.before_write(step)
        if behaviour.write_delay_s:
            stopping.wait(behaviour.write_delay_s)

    return Services(
        state=state,
        behaviour=behaviour,
        rules=rules,
        redis_url=redis_url_for_workers,
        redis_url_here=redis_url,
        db=db,
        writer=Writer(db, rules, before),
        inspector=Inspector(db),
        overview=Overview(db),
        page=Page(db, stopping, page_key),
        stopping=stopping,
    )
