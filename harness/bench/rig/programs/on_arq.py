"""arq's no-op."""

import asyncio
import time

import client
from arq import create_pool
from arq.connections import RedisSettings

SETTINGS = RedisSettings.from_dsn(client.BROKER_URL)
_loop = asyncio.new_event_loop()
asyncio.set_event_loop(_loop)
_pool = []


async def noop(ctx):
    return time.time()


class WorkerSettings:
    functions = (noop,)
    redis_settings = SETTINGS
    max_jobs = client.CONCURRENCY
    poll_delay = 0.001
    keep_result = 86_400


async def _connected():
    if not _pool:
        _pool.append(await create_pool(SETTINGS))
    return _pool[0]


async def _enqueue(count):
    pool = await _connected()
    while count > 0:
        batch = min(count, 50)
        await asyncio.gather(*(pool.enqueue_job("noop") for _ in range(batch)))
        count -= batch


async def _send_and_get():
    job = await (await _connected()).enqueue_job("noop")
    return await job.result(timeout=client.TIMEOUT_S, poll_delay=0.005)


def enqueue(count):
    _loop.run_until_complete(_enqueue(count))


def send_and_get():
    return _loop.run_until_complete(_send_and_get())
