"""Text from outside, in the log and where commands print it: visible, on its line, no terminal's command."""

import io
import json
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.settings import LogSettings
from appliance.observe import log
from appliance.plain import plain, plain_json, plain_lines

HOSTILE = {
    "C0": "\x1b]0;owned\x07\x1b[2J\b\t",
    "line breaks": "a\r\n2026-01-01 [error] forged\x0b\x0c\x85\u2028\u2029b",
    "C1": "\x9b31m\x90\x9d",
    "DEL": "\x7f",
    "bidi": "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c",
    "no width": "\u200b\u200c\u200d\u2060\ufeff\u00ad",
    "tags": "\U000e0041\U000e007f",
    "half a pair": "\udcff\ud800",
}


@pytest.fixture(autouse=True)
def _default_logging() -> Iterator[None]:
    """What a test configures is not left to the others."""
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_terminal_obeys_or_hides_is_escaped(kind: str) -> None:
    shown = plain(f"<{HOSTILE[kind]}>")

    assert shown.isprintable()
    assert shown.startswith("<")
    assert ascii(HOSTILE[kind])[1:-1] in shown


@pytest.mark.parametrize("text", ["", "plain", "é ü 漢字 😀", "a\u00a0b\u3000c", "back\\slash 'quotes' \""])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert plain(text) == text
    assert plain_json(json.dumps(text, ensure_ascii=False)) == json.dumps(text, ensure_ascii=False)


def test_each_line_is_one_line() -> None:
    assert plain_lines(["a\nb", "c"]) == "a\\nb\nc"


@given(st.text(st.characters(codec=None)))
def test_any_text_becomes_visible_and_any_json_means_the_same(text: str) -> None:
    assert all(char.isprintable() or char.isspace() for char in plain(text))
    rendered = plain_json(json.dumps({text: text}, ensure_ascii=False))
    assert json.loads(rendered) == {text: text}
    assert "\x1b" not in rendered
    assert "\u202e" not in rendered


class _Open:
    """Masks nothing: what is removed on the way there must not be what makes the log harmless."""

    def field(self, _name: str, value: object) -> object:
        return value


def _logged(format_: str, **fields: object) -> str:
    stream = io.StringIO()
    log.configure(LogSettings(level="info", format=format_), _Open(), stream)  # type: ignore[arg-type]
    structlog.get_logger().info("task.odd", **fields)
    return stream.getvalue()


@pytest.mark.parametrize("format_", ["text", "json"])
@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("blanks", ["", " and blanks "])
def test_a_logged_event_is_one_line_of_visible_text(format_: str, kind: str, blanks: str) -> None:
    text = f"{HOSTILE[kind]}{blanks}x"

    line = _logged(format_, task_id=text, ids=[text], of={text: text})

    assert line.endswith("\n")
    assert line[:-1].isprintable()
    if format_ == "json":
        assert json.loads(line)["task_id"] == text


@pytest.mark.parametrize("format_", ["text", "json"])
def test_a_traceback_keeps_its_lines_and_forges_none(format_: str) -> None:
    try:
        raise ValueError("a\x1b[2J\n2026-01-01T00:00:00Z [error    ] forged")
    except ValueError as exc:
        text = _logged(format_, exc_info=exc)

    assert "\x1b" not in text
    assert "ValueError: a" in text
    assert not any(line.startswith("2026-01-01T00") for line in text.split("\n"))


def test_a_command_that_logs_by_the_way_is_held_to_the_same() -> None:
    stream = io.StringIO()
    log.configure_command(stream)

    structlog.get_logger().warning("redis.odd", error="\x1b[2J\u202e")

    assert "redis.odd" in stream.getvalue()
    assert stream.getvalue()[:-1].isprintable()
