"""Celery's no-op."""

import time

import client
from celery import Celery

app = Celery("on_celery", broker=client.BROKER_URL, backend=client.RESULT_URL)
app.conf.update(
    worker_prefetch_multiplier=64 // client.CONCURRENCY,
    broker_connection_retry_on_startup=True,
    result_expires=86_400,
)


@app.task(name="noop")
def noop():
    return time.time()


def enqueue(count):
    with app.producer_pool.acquire(block=True) as producer:
        for _ in range(count):
            noop.apply_async(producer=producer)


def send_and_get():
    return noop.delay().get(timeout=client.TIMEOUT_S, interval=0.005)
