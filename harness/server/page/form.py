"""The form that sends a task: what was put into it, and how it looks. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import parse_qsl

from harness.server import go_json
from harness.server.messages import Refused
from harness.server.page import html

#: Bytes of a form, and bytes of a payload that is offered to be sent again.
MOST_BYTES, MOST_OFFERED_BYTES = 1024 * 1024, 64 * 1024
#: Where it is sent to.
ACTION = "/_harness/page/send"
#: Most seconds of a time limit: a year.
_LONGEST_S = 366 * 86_400


@dataclass(frozen=True)
class Form:
    """What stands in it. ``problem`` is why it was not accepted; ``again``: it is that of another task."""

    queue: str = ""
    payload: str = "{}"
    timeout: str = ""
    problem: str = ""
    again: bool = False


def read(body: bytes) -> Form:
    """What a browser sent. Raises :class:`~harness.server.messages.Refused`."""
    if len(body) > MOST_BYTES:
        raise Refused(413, f"the form has {len(body)} bytes, at most {MOST_BYTES}: use runqy-harness enqueue")
    try:
        found = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=10))
    except ValueError as exc:
        raise Refused(400, f"this is no form: {exc}") from exc
    return Form(found.get("queue", ""), found.get("payload", ""), found.get("timeout", ""))


def timeout_s(form: Form) -> int:
    """The time limit in seconds, 0 for none. Raises :class:`~harness.server.messages.Refused`."""
    text = form.timeout.strip()
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= _LONGEST_S):
        raise Refused(400, f"time limit {text[:80]!r}: expected whole seconds, 1 to {_LONGEST_S}, or nothing")
    return int(text)


def payload(form: Form) -> bytes:
    """The payload, which is JSON. Raises :class:`~harness.server.messages.Refused`."""
    data = form.payload.strip().encode(errors="replace")
    try:
        go_json.parse(data)
    except (ValueError, RecursionError) as exc:
        raise Refused(400, f"the payload is no JSON: {exc}") from exc
    return data


def render(form: Form, queues: Sequence[str]) -> str:
    """The form; it is open where it has something to say."""
    chosen = {form.queue: " selected"}
    options = "".join(
        f'<option value="{escape(name)}"{chosen.get(name, "")}>{html.text(name)}</option>' for name in queues
    )
    problem = f'<p class="bad" role="alert">{html.text(form.problem, 500)}</p>' if form.problem else ""
    shown, title = " open" if form.problem else "", "Send it again" if form.again else "Send a task"
    return (
        f'<details class="card"{shown}><summary>{title}</summary>{problem}'
        f'<form method="post" action="{ACTION}">'
        f'<label>queue<select name="queue" required>{options}</select></label>'
        '<label>time limit, in seconds<input name="timeout" inputmode="numeric" placeholder="the queue\'s" '
        f'value="{escape(form.timeout)}"></label>'
        f'<label class="all">payload, as JSON<textarea name="payload" rows="6" spellcheck="false" required>\n'
        f"{escape(form.payload)}</textarea></label>"
        '<button class="all">Send</button></form></details>'
    )
