"""Redaction, logging, the process's lines, and what is read of the machine."""

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from appliance.clock import SystemClock
from appliance.config.settings import LogSettings
from appliance.masking.matcher import MASK
from appliance.observe import log
from appliance.observe.crash import describe, dossier, read
from appliance.observe.outbound import Outbound
from appliance.observe.output import Output
from appliance.observe.redaction import OWN_FIELDS, Redactor
from appliance.observe.system import SystemMetrics, parse_gpus
from appliance.process.spec import CrashReport


@pytest.fixture(autouse=True)
def _default_logging() -> Iterator[None]:
    """What a test configures is not left to the others."""
    yield
    structlog.reset_defaults()


class StillClock:
    def monotonic(self) -> float:
        return 1.0

    def wall(self) -> float:
        return 1_700_000_000.5

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


def test_every_occurrence_of_a_secret_is_masked_longest_first() -> None:
    redactor = Redactor()
    redactor.add("hunter2", "hunter2-and-more", None, "")
    assert redactor.text("hunter2-and-more hunter2") == f"{MASK} {MASK}"


def test_each_line_of_a_secret_of_several_lines_is_masked() -> None:
    redactor = Redactor()
    redactor.add("-----BEGIN KEY-----\nabcdefgh\n-----END KEY-----")
    assert "abcdefgh" not in redactor.text("line: abcdefgh")


def test_very_short_values_are_not_masked_because_that_would_shred_ordinary_text() -> None:
    redactor = Redactor()
    redactor.add("a", "1")
    assert redactor.text("a1") == "a1"


def test_secrets_inside_nested_fields_are_masked() -> None:
    redactor = Redactor()
    redactor.add("hunter2")
    assert redactor.field("detail", {"a": ["x hunter2", ("hunter2", 3)], "e": ValueError("hunter2")}) == {
        "a": [f"x {MASK}", [MASK, 3]],
        "e": MASK,
    }


def test_no_secret_reaches_the_log_not_even_in_a_traceback() -> None:
    redactor, stream = Redactor(), io.StringIO()
    redactor.add("hunter2")
    log.configure(LogSettings(level="info", format="json"), redactor, stream)
    try:
        raise ValueError("password is hunter2")
    except ValueError:
        structlog.get_logger().error("it.failed", exc_info=True, detail="hunter2")
    line = json.loads(stream.getvalue())
    assert line["event"] == "it.failed"
    assert "ValueError" in line["exception"]
    assert "hunter2" not in stream.getvalue()


def test_a_vault_value_that_is_a_common_word_does_not_shred_our_own_fields() -> None:
    redactor, stream = Redactor(), io.StringIO()
    redactor.publish("inference", "inference.high-memory-v2")
    redactor.add("inference", "running", "2026", "high-memory-v2", "Tr0ub4dor", "a-much-longer-pass-phrase")
    log.configure(LogSettings(level="info", format="json"), redactor, stream)
    structlog.get_logger().info(
        "worker.running",
        queue="inference.high-memory-v2",
        sub_queues={"inference.low": 1},
        text="inference running high-memory-v2",
    )
    line = json.loads(stream.getvalue())
    assert (line["event"], line["queue"]) == ("worker.running", "inference.high-memory-v2")
    assert line["sub_queues"] == {"inference.low": 1}
    assert line["text"] == f"{MASK} {MASK} {MASK}"
    assert MASK not in line["timestamp"]


@pytest.mark.parametrize("field", [*sorted(OWN_FIELDS), "text", "error", "reason"])
def test_what_looks_like_a_secret_is_masked_in_every_field(field: str) -> None:
    redactor = Redactor()
    redactor.publish("inference")
    canaries = ("Tr0ub4dor", "a-much-longer-pass-phrase", "1234567", "sk_live_9a")
    redactor.add(*canaries)
    for canary in canaries:
        assert redactor.field(field, [f"x {canary}", {canary: 1}]) == [f"x {MASK}", {MASK: 1}]


def test_entries_with_values_that_make_trouble_are_named_and_their_values_are_not() -> None:
    redactor = Redactor()
    redactor.publish("inference")
    vaults = {
        "MODE": "inference",
        "FLAG": "True",
        "SHORT": "x1",
        "EMPTY": "",
        "KEY": "Tr0ub4dor",
        "PORT": "8080",
    }
    redactor.add(*vaults.values())
    remarks = dict(redactor.remarks(vaults))
    assert remarks.keys() == {"MODE", "PORT", "FLAG", "SHORT"}
    assert "not masked" in remarks["FLAG"]
    assert "not masked" in remarks["SHORT"]
    assert not any(
        value and value in text for text in remarks.values() for value in ("inference", "True", "x1")
    )


def test_the_log_level_is_obeyed() -> None:
    stream = io.StringIO()
    log.configure(LogSettings(level="warning", format="text"), Redactor(), stream)
    structlog.get_logger().info("quiet.event")
    structlog.get_logger().warning("loud.event")
    assert "loud.event" in stream.getvalue()
    assert "quiet.event" not in stream.getvalue()


def test_lines_are_numbered_redacted_and_stamped_in_milliseconds() -> None:
    redactor, outbound = Redactor(), Outbound("logs", kept=10, longest=20, ttl_s=60)
    redactor.add("hunter2")
    Output(StillClock(), redactor.text, outbound).add("q", "stderr", "got hunter2")
    assert [json.loads(line) for line in outbound.peek()[1]] == [
        {"ts": 1_700_000_000_500, "src": "stderr", "text": f"got {MASK}", "seq": 1}
    ]


def test_what_comes_while_other_lines_are_shipped_stays() -> None:
    outbound = Outbound("logs", kept=3, longest=6, ttl_s=60)
    outbound.add("one")
    mark, shipped = outbound.peek()
    outbound.add("two")
    outbound.drop(mark)
    assert (shipped, outbound.peek()[1]) == (["one"], ["two"])


def test_only_the_newest_lines_wait_for_redis_even_when_some_fell_off_during_shipping() -> None:
    outbound = Outbound("logs", kept=3, longest=6, ttl_s=60)
    for number in range(4):
        outbound.add(str(number))
    mark, shipped = outbound.peek()
    outbound.add("4")
    outbound.drop(mark)
    assert (shipped, outbound.peek()[1]) == (["1", "2", "3"], ["4"])


def test_a_dossier_is_bounded_free_of_secrets_and_readable() -> None:
    redactor = Redactor()
    redactor.add("hunter2")
    record = json.loads(
        dossier(
            "q",
            CrashReport(
                commit="abc",
                when_wall_s=1.0,
                exit="SIGSEGV",
                how="SIGSEGV",
                uptime_s=2.0,
                was_ready=True,
                task_ids=("t1", "\udcff"),
                stderr_tail=("x",) * 100 + ("y" * 5_000, "hunter2 leaked"),
                memory_peak_bytes=2**20,
            ),
            redactor.text,
        )
    )
    assert record["tasks"][1].encode(errors="surrogateescape") == b"\xff", "an id that is not UTF-8"
    assert len(record["stderr"]) == 50
    assert max(map(len, record["stderr"])) == 1_000
    assert record["stderr"][-1] == f"{MASK} leaked"
    text = describe(record, "now")
    assert all(part in text for part in ("now", "SIGSEGV", "t1", "abc", "1 MiB"))


def test_the_machines_metrics_have_the_shape_the_server_reads() -> None:
    metrics = SystemMetrics(SystemClock()).collect(1_700_000_000.9)
    assert set(metrics) == {"cpu_percent", "memory_used_bytes", "memory_total_bytes", "gpus", "collected_at"}
    assert 0 < metrics["memory_used_bytes"] < metrics["memory_total_bytes"]
    assert metrics["collected_at"] == 1_700_000_000


def test_gpus_are_read_from_nvidia_smi_and_what_a_card_does_not_say_is_zero() -> None:
    assert parse_gpus("0, NVIDIA A100, 35, 1024, 40960, 51\n1, Tesla, [N/A], 0, 16384, 40\nnonsense\n") == [
        {"index": 0, "name": "NVIDIA A100", "utilization_percent": 35.0, "memory_used_mb": 1024,
         "memory_total_mb": 40960, "temperature_c": 51},
        {"index": 1, "name": "Tesla", "utilization_percent": 0.0, "memory_used_mb": 0,
         "memory_total_mb": 16384, "temperature_c": 40},
    ]  # fmt: skip


def test_every_line_says_which_worker_it_is_of() -> None:
    stream = io.StringIO()
    heard: list[Mapping[str, Any]] = []
    log.configure(LogSettings(level="info", format="json"), Redactor(), stream, heard.append, "gpu-1-7-09ab")

    structlog.get_logger().info("process.ready")

    assert json.loads(stream.getvalue())["worker_id"] == heard[0]["worker_id"] == "gpu-1-7-09ab"


def test_output_is_logged_with_the_task_that_ran_and_so_it_is_in_redis() -> None:
    outbound = Outbound("key", kept=5, longest=10, ttl_s=1)
    output = Output(StillClock(), str, outbound)

    with capture_logs() as lines:
        output.add("q", "stdout", "loading", None)
        output.add("q", "stdout", "working", "t1")

    assert [line.get("task_id") for line in lines] == [None, "t1"]
    shape = {"ts", "src", "text", "seq"}
    assert [set(json.loads(text)) for text in outbound.peek()[1]] == [shape, {*shape, "task_id"}]


def test_a_dossier_that_was_read_back_says_what_the_written_one_did() -> None:
    report = CrashReport(
        commit="abc",
        when_wall_s=1.0,
        exit="SIGKILL",
        how="SIGKILL",
        uptime_s=2.0,
        was_ready=True,
        task_ids=("t1",),
        stderr_tail=("x",),
        memory_peak_bytes=None,
        charged_to="t1",
        timed_out=("t1",),
        stacks=("main.py:3",),
    )
    written = dossier("q", report, lambda text: text)
    record = read(written.encode())
    shown = describe(record, "now")

    assert record == json.loads(written)
    for line in ("charged to task t1", "ran over their limit: t1", "# main.py:3"):
        assert line in shown
    later = ("charged_to_task", "timed_out", "stacks")
    earlier = {name: value for name, value in json.loads(written).items() if name not in later}
    assert "charged" not in describe(read(json.dumps(earlier).encode()), "now")
    with pytest.raises(ValueError, match="charged_to_task is not"):
        read(json.dumps({**earlier, "charged_to_task": 7}).encode())
