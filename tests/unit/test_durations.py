"""Durations are Go's, both ways."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.config.durations import LONGEST_H, format_duration, parse_duration

_TEN_YEARS_NS = LONGEST_H * 3600 * 10**9


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("+0", 0),
        ("-0", 0),
        ("0s", 0),
        ("500ms", 0.5),
        ("1m30s", 90),
        ("1h", 3600),
        ("1.5h", 5400),
        ("+5s", 5),
        ("-1.5m", -90),
        (".5s", 0.5),
        ("1.s", 1),
        ("100us", 1e-4),
        ("100\u00b5s", 1e-4),
        ("100\u03bcs", 1e-4),
        ("7ns", 7e-9),
        ("1h1m1s1ms1us1ns", 3661.001001001),
        ("30s1h", 3630),
        ("1s1s", 2),
        ("0.0000000019s", 1e-9),
        ("87600h", 315_360_000),
    ],
)
def test_what_go_reads_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a duration"),
        ("-", "not a duration"),
        ("s", "not a duration"),
        (".s", "not a duration"),
        (".", "not a duration"),
        ("+-5s", "not a duration"),
        ("1.2.3s", "not a duration"),
        ("5s3", "not a duration"),
        ("soon", "not a duration"),
        ("30", "add one, e.g. 30s"),
        ("1.5", "add one, e.g. 1.5s"),
        ("-5", "add one, e.g. -5s"),
        ("00", "has no unit"),
        ("1d", "unknown unit 'd'"),
        ("5S", "unknown unit 'S'"),
        ("1 s", "unknown unit ' s'"),
        ("1s ", "unknown unit 's '"),
        ("1s\n", "unknown unit"),
        ("\u0661s", "not a duration"),
        ("1e3s", "unknown unit 'e'"),
        ("87600h1ns", "longer than ten years"),
        ("99999999999999999999h", "longer than ten years"),
        ("9" * 5000 + "h", "too long"),
    ],
)
def test_what_go_refuses_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (0.5, "500ms"),
        (0.0015, "1.5ms"),
        (7e-9, "7ns"),
        (1.5, "1.5s"),
        (90, "1m30s"),
        (3600, "1h"),
        (86_400, "24h"),
        (3600.25, "1h0.25s"),
        (-90, "-1m30s"),
    ],
)
def test_a_duration_is_written_with_no_more_units_than_it_needs(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(-_TEN_YEARS_NS, _TEN_YEARS_NS))
@example(57_646_233_466_791_763)  # is lost when multiplied as a float
def test_what_is_written_reads_back_as_the_same_seconds(nanoseconds: int) -> None:
    seconds = nanoseconds / 10**9

    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text(alphabet="0123456789.+-nsuµmh ", max_size=12) | st.text())
def test_any_text_is_read_or_refused_as_a_value(text: str) -> None:
    seconds, reason = 0.0, ""
    try:
        seconds = parse_duration(text)
    except ValueError as exc:
        reason = str(exc)

    assert abs(seconds) <= LONGEST_H * 3600
    assert reason.isprintable()
