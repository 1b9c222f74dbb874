"""RQ's no-op."""

import time

import client
from redis import Redis
from rq import Queue

queue = Queue("bench", connection=Redis.from_url(client.BROKER_URL))


def noop():
    return time.time()


def enqueue(count):
    while count > 0:
        batch = min(count, 500)
        queue.enqueue_many([Queue.prepare_data("on_rq.noop", result_ttl=86_400) for _ in range(batch)])
        count -= batch


def send_and_get():
    job = queue.enqueue("on_rq.noop", result_ttl=86_400)
    return job.latest_result(timeout=client.TIMEOUT_S).return_value
