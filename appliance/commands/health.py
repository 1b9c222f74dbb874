"""``runqy-appliance health``: ask the worker on this machine whether it is ready, live or started."""

from collections.abc import Mapping
from pathlib import Path

from appliance.commands.endpoint import NoAnswer, address, ask
from appliance.commands.options import Options
from appliance.exits import Exit
from appliance.plain import plain
from appliance.shape import TEXT, TRUTH, Shape

_REASONS: Shape = [{"text": TEXT}]
_ANSWERS: dict[str, Shape] = {
    "ready": {"ready": TRUTH, "status": TEXT, "reasons": _REASONS},
    "live": {"live": TRUTH, "stuck": [TEXT]},
    "started": {"started": TRUTH, "reasons": _REASONS, "stuck": [TEXT]},
}


def run(options: Options, environ: Mapping[str, str], cwd: Path) -> int:
    """Print one line that says so, or why not."""
    what = "live" if options.live else "started" if options.started else "ready"
    well, line = check(address(options, environ, cwd), what)
    print(line)
    return Exit.OK if well else Exit.UNHEALTHY


def check(addr: str, what: str) -> tuple[bool, str]:
    """Whether the worker is ``what`` (ready, live or started), and one line that says why not."""
    try:
        _, answer = ask(addr, f"/{what}z", _ANSWERS[what])
    except NoAnswer as exc:
        return False, plain(str(exc))
    # By what the answer says: other programs answer 200, too.
    if answer[what]:
        return True, what
    reasons = [reason["text"] for reason in answer.get("reasons", [])]
    return False, plain(f"not {what}: {'; '.join([*reasons, *answer.get('stuck', [])])}")
