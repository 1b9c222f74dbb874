"""The history of a run of chaos, from what it left behind: diaries, Redis's file, logs, the crew's lives."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import redis

from harness.chaos.crew import Place
from harness.chaos.plan import SUB_QUEUES
from harness.evidence import ledger
from harness.evidence.diary import Diary
from harness.evidence.history import STARVED, STOOD_STILL, History, Rules, Run, Sent, Trouble
from harness.evidence.invariants import SLACK_S
from harness.queue import asynq
from harness.queue.strict import reader


def runs(diary: Path) -> list[Run]:
    """What the task processes did, with the monotonic clock they share with us put into unix seconds."""
    offset_s = time.time() - time.monotonic()
    seen_s = {
        int(path.suffix[1:]): int(path.read_text() or 0) / 1e9 + offset_s
        for path in diary.parent.glob(f"{diary.name}.*")
        if re.fullmatch(r"\.[0-9]+", path.suffix)
    }
    entries = Diary.of_file(diary)
    ends = {entry.more["run"]: entry for entry in entries.of("end")}
    found = []
    for entry in entries.of("begin"):
        run_id = entry.more["run"]
        end = ends.get(run_id)
        began_s = entry.mono_ns / 1e9 + offset_s
        found.append(
            Run(
                run_id=run_id,
                task_id=entry.task_id or "",
                worker=entry.more["worker"],
                pid=entry.pid,
                began_s=began_s,
                seen_s=max(began_s, seen_s.get(entry.pid, 0.0)),
                ended_s=end.mono_ns / 1e9 + offset_s if end else None,
                outcome=end.more["outcome"] if end else "",
            )
        )
    return found


def history(
    rules: Rules,
    sent: Sequence[Sent],
    troubles: Sequence[Trouble],
    places: Sequence[Place],
    db: redis.Redis,
    redis_folder: Path,
    diary: Path,
    secrets: Mapping[str, str],
) -> History:
    """Everything. A trouble whose target is a place's number becomes one of each worker it fell upon.

    A Redis that stood still for half a lease (its disk, or the whole machine) is in trouble, too.
    """
    book = ledger.read(redis_folder)
    lives = [life for place in places for life in place.lives]
    locks = [each.unique_key for each in sent if each.unique_key]
    texts = {
        f"the log of worker {log.name}": log.log_path.read_bytes() for each in places for log in each.logs
    }
    for path in ledger.files(redis_folder):
        texts["what was written to Redis"] = texts.get("what was written to Redis", b"") + path.read_bytes()
    return History(
        rules=rules,
        sent=tuple(sent),
        runs=runs(diary),
        transitions=book.transitions,
        troubles=[
            *(each for trouble in troubles for each in _of_workers(trouble, places)),
            *of_the_machine(book.pauses, rules, troubles),
        ],
        lives=lives,
        places={each.task_id: asynq.where_is(db, each.queue, each.task_id) for each in sent},
        misplaced=book.misplaced,
        unreadable=reader.read(db),
        locks=frozenset(lock for lock in locks if db.exists(lock)),
        counters={queue: asynq.get_counters(db, queue) for queue in SUB_QUEUES},
        secrets=secrets,
        texts=texts,
    )


def of_the_machine(
    pauses: Iterable[tuple[float, float]], rules: Rules, injected: Iterable[Trouble]
) -> Iterable[Trouble]:
    """Pauses of Redis as long as half a lease, without what was done to it meanwhile."""
    parts = list(pauses)
    for trouble in injected:
        if trouble.target == "redis" and trouble.kind != STARVED:
            before_s, after_s = trouble.began_s - SLACK_S, trouble.ended_s + SLACK_S
            parts = [
                part
                for began_s, ended_s in parts
                for part in ((began_s, min(ended_s, before_s)), (max(began_s, after_s), ended_s))
                if part[0] < part[1]
            ]
    return [
        Trouble(STOOD_STILL, "redis", began_s, ended_s)
        for began_s, ended_s in parts
        if ended_s - began_s >= rules.lease_s / 2
    ]


def _of_workers(trouble: Trouble, places: Sequence[Place]) -> Iterable[Trouble]:
    if not trouble.target.isdigit():
        return [trouble]
    return [
        Trouble(trouble.kind, life.worker, trouble.began_s, trouble.ended_s, trouble.lingers_s)
        for life in places[int(trouble.target)].lives
        if life.began_s <= trouble.ended_s + trouble.lingers_s and life.ended_s >= trouble.began_s
    ]
