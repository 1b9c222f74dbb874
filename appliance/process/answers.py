"""What a task process says in lines of JSON, and how an object's members become that. Pure."""

import json
from dataclasses import dataclass
from typing import NamedTuple

from appliance.process.outcome import Failed, Succeeded
from appliance.values import value_class

_FALSE = frozenset(("false", "null", "0", "0.0", '""', "[]", "{}"))


@value_class(slots=True)
class Ready:
    """The process can take tasks."""


@value_class(slots=True)
class StartError:
    """The process says that it cannot start."""

    text: str


# A tuple, as is whatever is made for every task: compared and hashed several times faster than a value.
class Answer(NamedTuple):
    """The process answered one task."""

    task_id: str
    outcome: Succeeded | Failed


@value_class(slots=True)
class Noise:
    """Output that is no part of the protocol."""

    text: str


Event = Ready | StartError | Answer | Noise


@dataclass(slots=True)
class Members:
    """An object's members as JSON text; ``constant`` is NaN or an infinity found in ``result``."""

    text: dict[str, str]
    constant: str | None


def event_of(members: Members, valid_utf8: bool) -> Event | None:
    """What an object says; None where it says nothing of the protocol."""
    # Before the status: an answer may hold members that the protocol does not know, a status too.
    if members.text.get("task_id", "").startswith('"'):
        if "progress" in members.text and members.text.keys().isdisjoint(("result", "error")):
            return None
        return Answer(string_of(members.text["task_id"]), outcome_of(members, valid_utf8))
    match members.text.get("status"):
        case '"ready"':
            return Ready()
        case '"error"':
            return StartError(error_of(members.text) or "no reason given")
    return None


def outcome_of(members: Members, valid_utf8: bool) -> Succeeded | Failed:
    """What an answer says became of its task."""
    error = error_of(members.text)
    if error:
        # Any value counts as its truth would in Python: absent, null, false, 0 and empty are false.
        return Failed(error, retry=members.text.get("retry", "false") not in _FALSE)
    if not valid_utf8:
        return Failed("the answer is not valid UTF-8", retry=False)
    if members.constant is not None:
        return Failed(f"the result holds {members.constant}, which JSON does not have", retry=False)
    return Succeeded(members.text.get("result", "null").encode())


def error_of(members: dict[str, str]) -> str:
    """The error as text; empty where there is none. Other JSON than a string is shown as it is."""
    text = members.get("error", "null")
    if text.startswith('"'):
        return string_of(text)
    return "" if text == "null" else text


def string_of(text: str) -> str:
    """The value of a JSON string; raises ValueError for anything else."""
    if text.startswith('"') and "\\" not in text:
        return text[1:-1]
    value = json.loads(text)
    if not isinstance(value, str):
        raise ValueError(f"{text!r} is not a JSON string")  # noqa: TRY004  bad JSON like any other
    # A lone half of a surrogate pair is a legal escape, but no text: it could not be logged or stored.
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
