"""What it leaves where others look: stdout, logs, results."""

import json
import re

from harness.certify.bench import MASK, Bench
from harness.certify.finding import Finding, failed, passed, skipped, warned

#: The worker masks no shorter values: they are no secrets.
SHORTEST = 4
#: Masks of user info and parameters of an address, which the worker masks whether it knows them or not.
_IN_ADDRESS = re.compile(rf"://{re.escape(MASK)}@|[?&;][\w.%-]+={re.escape(MASK)}")


def stdout(bench: Bench) -> Finding:
    """Count the lines on stdout that are no answers, over all tasks so far."""
    lines, tasks = bench.output("stdout"), max(1, len(bench.sent))
    if not lines:
        return passed(f"nothing but answers on stdout in {tasks} tasks")
    return warned(
        f"{len(lines)} lines on stdout that are no answers, in {tasks} tasks, such as {lines[-1][:60]!r}",
        "They do no harm, but each is read as a possible answer: log to stderr (print(…, file=sys.stderr)). "
        "The SDK's run() redirects print by itself.",
        "docs/task-process.md#lines",
    )


def vaults(bench: Bench) -> Finding:
    """Look for vault values in all that the task process wrote, and for vault names in the code."""
    entries = bench.subject.vault
    if not entries:
        return skipped("no vault entry was given (--vault NAME=VALUE)")
    shown = [name for name, value in entries.items() if len(value) >= SHORTEST and _told(bench, value)]
    if not shown and any(map(_is_masked, (*bench.output("stdout"), *bench.output("stderr")))):
        # The worker has masked it, so that only how it looks can be told, not which.
        shown = [" or ".join(entries)]
    if shown:
        return failed(
            f"the value of {', '.join(shown)} is in what the task process wrote",
            "Never print, log or return a secret. The worker masks its vaults' values in logs and errors, "
            "in their usual forms too (JSON, base64, URL), but results are kept as they are, and a value "
            "that was changed in another way (encrypted, one letter a line) is not known to it.",
            "docs/security.md",
        )
    names = bench.subject.names_in_code
    unread = sorted(entries.keys() - names) if names is not None else []
    if unread:
        return warned(
            f"no value was told, but {', '.join(unread)} is named nowhere in the code",
            "A vault entry is an environment variable of its name (os.environ[…]): is it misspelt, or "
            "not needed?",
            "docs/task-process.md",
        )
    return passed(f"the values of {', '.join(sorted(entries))} are in no output, no error and no result")


def _told(bench: Bench, value: str) -> bool:
    shapes = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    tasks = [bench.task(task_id) for task_id in bench.sent if bench.places(task_id) != {"nowhere"}]
    texts = [bench.worker.log_text()]
    texts += [text for task in tasks for name in ("result", "error_msg") if (text := task.fields.get(name))]
    return any(shape in text for shape in shapes for text in texts)


def _is_masked(line: str) -> bool:
    return MASK in _IN_ADDRESS.sub("", line)
