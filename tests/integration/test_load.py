"""``runqy-harness load`` with a real worker: what it says agrees with what the task code did."""

import json
import os
import subprocess
from pathlib import Path

from tests.integration.program import HARNESS

#: Works on several tasks at a time, and leaves a line for each.
CODE = """
import json, os, sys, threading, time
def work(request):
    time.sleep(0.1)
    print(json.dumps({"task_id": request["task_id"], "result": None}), flush=True)
    with open(os.environ["DIARY"], "a") as diary:
        diary.write(json.dumps(request["payload"]) + "\\n")
print(json.dumps({"status": "ready"}), flush=True)
for line in sys.stdin:
    threading.Thread(target=work, args=(json.loads(line),)).start()
"""


def test_a_load_is_sent_as_asked_measured_and_judged(tmp_path: Path) -> None:
    # given
    code = tmp_path / "code"
    code.mkdir()
    (code / "main.py").write_text(CODE)
    payloads, diary = tmp_path / "payloads", tmp_path / "diary"
    payloads.write_text('{"n": 1}\n{"n": 2}\n')
    report, picture = tmp_path / "load.json", tmp_path / "load.svg"
    files = ("--payload", payloads, "--json", report, "--picture", picture)
    load = ("--rate=20", "--duration=2s", "--workers=2", "--concurrency=4", "--vault", f"DIARY={diary}")

    # when
    done = subprocess.run(
        [*HARNESS, "load", str(code), *map(str, files), *load],
        env={**os.environ, "PIP_NO_INDEX": "1", "UV_NO_INDEX": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
    )

    # then
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(report.read_text())
    assert (told["sent"], told["completed"], told["failed"], told["unfinished"]) == (40, 40, 0, 0)
    # Sleeping takes as long as was asked for, and on a busy machine more.
    assert told["seconds"]["run"]["p50"] >= 0.1
    assert all(told["seconds"]["total"][each] >= 0.1 for each in ("p50", "p90", "p99", "max"))
    assert told["memory_peak_bytes"] > 10_000_000
    # Those before the measurement: one for each slot.
    ran = [json.loads(line)["n"] for line in diary.read_text().splitlines()]
    assert len(ran) == 40 + 8
    assert abs(ran.count(1) - ran.count(2)) <= 1
    assert "40 sent, 40 completed" in done.stdout
    assert "For this load: " in done.stdout
    assert "<svg" in picture.read_text()
