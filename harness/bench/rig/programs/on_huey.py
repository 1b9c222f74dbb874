"""Huey's no-op."""

import time

import client
from huey import RedisHuey

huey = RedisHuey("bench", url=client.BROKER_URL)


@huey.task()
def noop():
    return time.time()


def enqueue(count):
    for _ in range(count):
        noop()


def send_and_get():
    return noop().get(blocking=True, timeout=client.TIMEOUT_S, backoff=1.0, max_delay=0.005)
