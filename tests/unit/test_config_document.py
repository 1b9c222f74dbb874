"""The file's text: positions, YAML's traps, and nothing of it in messages that might be secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.document import read_document
from appliance.config.findings import Findings


def _read(text: str, **environ: str) -> Findings:
    return read_document(text, "config.yml", environ)


def test_values_are_found_with_their_origin() -> None:
    findings = _read("server:\n  url: http://h\n\nrecovery:\n  max_restarts: 7 # some\n")

    assert findings.found["server.url"].raw == "http://h"
    assert findings.found["server.url"].origin == "config.yml:2"
    assert findings.found["recovery.max_restarts"].raw == "7"
    assert findings.found["recovery.max_restarts"].named == "config.yml:5:3 recovery.max_restarts='7'"
    assert (findings.problems, findings.warnings) == ([], [])


@pytest.mark.parametrize(
    "text", ["no", "010", "1:30", "0x1F", "1_000", "2020-01-01", "1e3", "'no'", '"no"', "1.10"]
)
def test_a_scalar_is_taken_as_it_was_written(text: str) -> None:
    assert _read(f"worker:\n  queue: {text}").found["worker.queue"].raw == text.strip("'\"")


@pytest.mark.parametrize("text", ["", "~", "null", "''", '""', "${EMPTY}", "${UNSET:-}"])
def test_null_and_empty_mean_not_set(text: str) -> None:
    findings = _read(f"log:\n  level: {text}\n  format: json", EMPTY="")

    assert "log.level" not in findings.found
    assert findings.found["log.format"].raw == "json"


@pytest.mark.parametrize("text", ["", "---\n", "# nothing\n", "~", "server:\nworker: ~\n", "{}"])
def test_an_empty_file_or_section_says_nothing(text: str) -> None:
    assert _read(text) == Findings()


@pytest.mark.parametrize("text", ["[a, b]", "\n    - a\n    - 'b'"])
def test_a_list_keeps_its_items(text: str) -> None:
    assert _read(f"worker:\n  queues: {text}").found["worker.queues"].raw == ("a", "b")


def test_variables_are_filled_in_after_yaml_so_that_they_cannot_become_structure() -> None:
    findings = _read(
        'worker:\n  queues: ["${Q}"]\n  instance_id: ${I}', Q="a, b]\nlog:", I="x\n  concurrency: 5"
    )

    assert findings.found["worker.queues"].raw == ("a, b]\nlog:",)
    assert findings.found["worker.instance_id"].raw == "x\n  concurrency: 5"
    assert set(findings.found) == {"worker.queues", "worker.instance_id"}


def test_an_unset_variable_is_a_problem_at_its_position() -> None:
    found = _read("server:\n  api_key: ${NOPE}").found["server.api_key"]

    assert found.named == "config.yml:2:3 server.api_key"
    assert "NOPE, which is not set" in found.problem


def test_an_anchor_can_be_used_again() -> None:
    findings = _read("recovery:\n  initial_delay: &d 3s\n  max_delay: *d")

    assert findings.found["recovery.max_delay"].raw == "3s"
    assert findings.found["recovery.max_delay"].origin == "config.yml:3"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "log:\n  level: info\n  level: debug",
            "config.yml:3:3 log.level: is given a second time, after config.yml:2:3",
        ),
        ("log: {}\nlog: {}", "config.yml:2:1 log: is given a second time, after config.yml:1:1"),
        ("log: info", "config.yml:1:1 log: must be a section of level, format"),
        ("log: [level]", "config.yml:1:1 log: must be a section of level, format"),
        ("- log", "config.yml: must hold sections: server, worker"),
        ("just text", "config.yml: must hold sections: server, worker"),
        ("? [a]\n: b", "config.yml:1:3: a key must be plain text"),
        ("a: &a {level: info}\nlog:\n  <<: *a", "config.yml:3:3: a key must be plain text (merge keys"),
    ],
)
def test_wrong_structure_is_a_problem_at_its_position(text: str, problem: str) -> None:
    assert _read(text).problems[0].startswith(problem)


@pytest.mark.parametrize(
    "value",
    ["{a: b}", "[[a]]", "!!binary aGk=", "!secret x", "!!python/object/apply:os.system [x]", "[{a: b}]"],
)
def test_what_is_no_plain_value_is_a_problem_of_its_option(value: str) -> None:
    found = _read(f"log:\n  level: {value}").found["log.level"]

    assert found.problem.startswith("must be one of debug, info")


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("server:\n\tapi_key: x", "config.yml:2:1: is not YAML"),
        ("server: {url: x", "config.yml:1:16: is not YAML"),
        ("a: b: c", "config.yml:1:5: is not YAML"),
        ("server:\n  url: \x07", "config.yml:2:8: is not YAML"),
        ("--- a\n--- b", "config.yml:2:1: is not YAML"),
    ],
)
def test_what_is_not_yaml_is_a_problem_at_its_position(text: str, position: str) -> None:
    findings = _read(text)

    assert findings.problems[0].startswith(position)
    assert not findings.complete


@pytest.mark.parametrize(
    "text",
    [
        "server:\n  api_key: *canary",
        "server:\n  api_key: !canary!x y",
        "server:\n  api_key: 'canary",
        'server:\n  api_key: "\\qcanary"',
        "server:\n  api_key: @canary",
        "server:\n  api_key: %canary",
        "server:\n  api_key: canary: canary",
        "server:\n  api_key: &canary a\n  url: &canary b\n  : *",
        "server:\n  api_key: ${canary",
        "server:\n  api_key: [canary, {canary: canary}]",
        "server:\n  api_key: !canary x",
        "server:\n  api_key: {canary: canary}",
    ],
)
def test_no_message_shows_what_may_be_a_secret(text: str) -> None:
    findings = _read(text)

    shown = [*findings.problems, *findings.warnings]
    shown += [found.named + found.problem for found in findings.found.values()]
    assert shown, "each of these is a mistake"
    assert "canary" not in "\n".join(shown)


def test_a_file_nested_too_deeply_is_refused() -> None:
    assert _read("a: " + "[" * 20_000).problems == ["config.yml: is nested too deeply"]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            "recover:\n  enabled: true",
            "config.yml:1:1 recover: unknown section, ignored; did you mean recovery?",
        ),
        (
            "recovery:\n  max_restart: 1",
            "config.yml:2:3 recovery.max_restart: unknown key, ignored; did you mean recovery.max_restarts?",
        ),
        ("api_key: x", "config.yml:1:1 api_key: unknown section, ignored; did you mean server.api_key?"),
        ("worker:\n  zzzzzz: x", "config.yml:2:3 worker.zzzzzz: unknown key, ignored"),
    ],
)
def test_an_unknown_name_is_a_warning_with_the_nearest_known_one(text: str, warning: str) -> None:
    assert _read(text).warnings == [warning]


@given(st.text() | st.text(alphabet="ab:-[]{}&*!|>'\"%@#?<\n \t${}", max_size=40))
def test_any_text_ends_in_findings(text: str) -> None:
    findings = _read(text)

    lines = [*findings.problems, *findings.warnings]
    lines += [found.named + found.problem for found in findings.found.values()]
    assert all(line.isprintable() for line in lines)
