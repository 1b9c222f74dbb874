"""The task code of chaos: does what each payload says, and keeps a diary of it that outlives it.

Payload: {"do": …, "until": n, "seconds": s, "blob": "…"}; "do" is one of work, retry, fail, crash, segv,
hang, noise. What fails does so while the task's retry_count is less than "until", and works after that.

HANDLER_DIARY: the diary's file; one beside it says to the hundredth of a second how long the process lived.
CHAOS_WORKER: the worker's name in the diary. CHAOS_SECRET: what it makes noise with.
"""

import hashlib
import json
import os
import signal
import sys
import threading
import time

import diary
import raw
import settings

ALIVE = os.open(f"{os.environ['HANDLER_DIARY']}.{os.getpid()}", os.O_WRONLY | os.O_CREAT, 0o644)


def live():
    while True:
        os.pwrite(ALIVE, b"%020d" % time.monotonic_ns(), 0)
        time.sleep(0.01)


def end(task, run, outcome):
    diary.record("end", task["task_id"], run=run, outcome=outcome)


def work(task, run):
    payload = task["payload"]
    time.sleep(payload.get("seconds", 0))
    blob = payload.get("blob", "")
    digest = hashlib.sha256(blob.encode()).hexdigest()[:16]
    end(task, run, "ok")
    raw.say(task_id=task["task_id"], result={"run": run, "digest": digest, "blob": blob[:65_536]})


def end_badly(do, task, run):
    if do in {"retry", "fail"}:
        end(task, run, do)
        raw.say(task_id=task["task_id"], error=f"{do}, as told", retry=do == "retry")
    elif do == "hang":
        time.sleep(3_600)
    else:
        end(task, run, "crash")
        settings.die(signal.SIGSEGV if do == "segv" else signal.SIGKILL)


def make_noise():
    secret = os.environ["CHAOS_SECRET"]
    print(f"{{half an object, and a secret: {secret}")
    print("x" * 100_000, secret, file=sys.stderr)
    raw.say(task_id="another's", result=secret)


def main():
    threading.Thread(target=live, daemon=True).start()
    raw.ready()
    for number, line in enumerate(sys.stdin):
        task = json.loads(line)
        do, until = task["payload"]["do"], task["payload"].get("until", 0)
        run = f"{os.getpid()}.{number}.{time.monotonic_ns() // 1_000_000}"
        diary.record("begin", task["task_id"], run=run, worker=os.environ["CHAOS_WORKER"])
        if do == "noise":
            make_noise()
        if task["retry_count"] < until:
            end_badly(do, task, run)
        else:
            work(task, run)


if __name__ == "__main__":
    main()
