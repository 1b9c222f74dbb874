"""Sends the requests of exchanges, and reads what is in the answers."""

import json
from collections.abc import Mapping
from typing import Any

import httpx

from harness.conform.exchange import JSON, NONE, WRONG, Ask
from harness.conform.shape import filled


class Caller:
    """``keys`` are those that are known, by role."""

    def __init__(self, client: httpx.Client, keys: Mapping[str, str]) -> None:
        self._client = client
        self._keys = {**keys, WRONG: "conform-unknown-key", NONE: ""}

    def has(self, role: str) -> bool:
        """Whether the key of this role is known."""
        return role in self._keys

    def ask(self, ask: Ask, names: Mapping[str, str]) -> httpx.Response:
        """Send a request; ``names`` stand for what it names in braces. Raises httpx.HTTPError."""
        body = filled(ask.body, names)
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": JSON} if content is not None else {}
        headers |= {"Authorization": f"Bearer {self._keys[ask.key]}"} if self._keys[ask.key] else {}
        headers |= filled(ask.headers, names)
        return self._client.request(ask.method, filled(ask.path, names), content=content, headers=headers)


def answer(response: httpx.Response) -> Any:
    """The answer's JSON, or its text where it has none."""
    try:
        return response.json()
    except ValueError:
        return response.text


def task_ids(content: Any) -> list[str]:
    """The ids of the tasks that an answer says are new."""
    match content:
        case {"info": {"id": str(task_id)}}:
            return [task_id]
        case {"task_ids": [*several]}:
            return [each for each in several if isinstance(each, str)]
    return []
