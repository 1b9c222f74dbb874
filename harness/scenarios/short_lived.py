"""Task processes for stories of recovery: in shell, because that starts in two milliseconds.

What is measured there is the worker; a Python that starts would add a twentieth of a second to each pause.
"""

from collections.abc import Mapping

from harness.evidence.diary import Diary

STARTUP = "sh main.sh"
# Without a fork where time matters: on a busy machine one can take a tenth of a second. A process's start is
# when the kernel made it, in hundredths of a second since boot as /proc/uptime is.
_NOTE = """note() {
    echo "{\\"event\\": \\"$1\\", \\"task_id\\": null, \\"mono_ns\\": ${2}0000000, \\
\\"wall_ns\\": $(($2 * 10000000 + offset)), \\"pid\\": $$}" >>"$HANDLER_DIARY"
}
now() {
    read -r up _ </proc/uptime
    now=${up%.*}${up#*.}
}
read -r stat </proc/$$/stat
set -- $stat
now
offset=$(($(date +%s%N) - now * 10000000))
note start ${22}
"""
#: Says ready and dies.
CRASHES: Mapping[str, str] = {
    "main.sh": f"""{_NOTE}
echo '{{"status": "ready"}}'
now
note ready $now
now
note crash $now
exit 1
"""
}
#: Says ready and does nothing, until SIGTERM: then it dies.
IDLES: Mapping[str, str] = {
    "main.sh": f"""{_NOTE}
trap 'now; note crash $now; exit 1' TERM
echo '{{"status": "ready"}}'
now
note ready $now
while read -r line; do :; done
"""
}


def pauses(diary: Diary) -> list[float]:
    """Seconds from each crash to the start after it, as the processes wrote them down."""
    crashes = [entry.mono_ns for entry in diary.of("crash")]
    starts = [entry.mono_ns for entry in diary.of("start")]
    return [(start - crash) / 1e9 for crash, start in zip(crashes, starts[1:], strict=False)]
