"""Task processes for stories of recovery: in shell, because that starts in two milliseconds.

What is measured there is the worker; a Python that starts would add a twentieth of a second to each pause.
"""

from collections.abc import Mapping

from harness.diary import Diary
from harness.timeline import Timeline

STARTUP = "sh main.sh"
_NOTE = """note() {
    now=$(date +%s%N)
    times="\\"wall_ns\\": $now, \\"mono_ns\\": $now"
    echo "{\\"event\\": \\"$1\\", \\"task_id\\": null, $times, \\"pid\\": $$}" >>"$HANDLER_DIARY"
}
note start
"""
#: Says ready and dies.
CRASHES: Mapping[str, str] = {
    "main.sh": f"""{_NOTE}
echo '{{"status": "ready"}}'
note ready
note crash
exit 1
"""
}
#: Says ready and does nothing, until it is killed.
IDLES: Mapping[str, str] = {
    "main.sh": f"""{_NOTE}
echo '{{"status": "ready"}}'
note ready
while read -r line; do :; done
"""
}


def pauses(diary: Diary) -> list[float]:
    """Seconds from each crash to the start after it, as the processes wrote them down."""
    crashes = [entry.wall_ns for entry in diary.of("crash")]
    starts = [entry.wall_ns for entry in diary.of("start")]
    return [(start - crash) / 1e9 for crash, start in zip(crashes, starts[1:], strict=False)]


def pauses_after_kills(diary: Diary, timeline: Timeline) -> list[float]:
    """Seconds from each kill by the scenario to the start after it."""
    kills = [event.at_s for event in timeline.of("fault.began") if event.fields["fault"] == "kill"]
    starts = [entry.wall_ns / 1e9 for entry in diary.of("start")]
    return [start - kill for kill, start in zip(kills, starts[1:], strict=False)]
