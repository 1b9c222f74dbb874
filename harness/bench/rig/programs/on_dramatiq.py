"""Dramatiq's no-op."""

import time

import client
import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

broker = RedisBroker(url=client.BROKER_URL)
broker.add_middleware(Results(backend=RedisBackend(url=client.RESULT_URL), result_ttl=86_400_000))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def noop():
    return time.time()


def enqueue(count):
    for _ in range(count):
        noop.send()


def send_and_get():
    return noop.send().get_result(block=True, timeout=client.TIMEOUT_S * 1000)
