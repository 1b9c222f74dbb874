"""Output as lines for people: whole, bounded, and without the secrets, however it arrives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.process.lines import LineSplitter

SECRET = "s3cret"


def masked(text: str) -> str:
    return text.replace(SECRET, "******")


def lines(*chunks: bytes, max_chars: int = 8192) -> list[str]:
    out: list[str] = []
    splitter = LineSplitter(out.append, masked, max_chars)
    for chunk in chunks:
        splitter.feed(chunk)
    splitter.end()
    return out


def chunked(stream: bytes, data: st.DataObject) -> list[bytes]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\r\ntwo\r\n", ["one", "two"]),
        (b"no line break", ["no line break"]),
        (b"\n \n\t\n", []),
        (b"  indented \n", ["  indented "]),
        (b"10%\r20%\r30%\n", ["30%"]),
        (b"10%\r20%\r", ["20%"]),
        (b"caf\xc3\xa9 \xff\n", ["café �"]),
        (b"cut \xf0\x9f\x99", ["cut �"]),
    ],
    ids=repr,
)
def test_lines_are_what_a_terminal_would_show(stream: bytes, expected: list[str]) -> None:
    assert lines(stream) == expected


@given(
    st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\xc3\xa9", b"\xff", b"\xf0\x9f", b"word "])), st.data()
)
def test_however_the_output_is_chunked_the_lines_are_the_same(
    parts: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(parts)

    assert lines(*chunked(stream, data)) == lines(stream)


def test_a_long_line_comes_in_pieces_and_nothing_of_it_is_lost() -> None:
    text = "".join(str(number) for number in range(2000))

    pieces = lines(*(text[at : at + 7].encode() for at in range(0, len(text), 7)), max_chars=100)

    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= 100


def test_a_line_that_never_ends_is_not_kept_in_memory() -> None:
    out: list[str] = []
    splitter = LineSplitter(out.append, masked, max_chars=100)

    for _ in range(1000):
        splitter.feed(b"x" * 50)
        assert len(splitter._pending) <= 250

    assert len(out) > 400


@given(st.integers(0, 400), st.integers(0, 400), st.booleans(), st.data())
def test_no_secret_escapes_by_lying_across_a_chunk_or_a_cut(
    before: int, after: int, line_break: bool, data: st.DataObject
) -> None:
    stream = ("x" * before + SECRET + "y" * after + "\n" * line_break).encode()

    shown = "".join(lines(*chunked(stream, data), max_chars=len(SECRET) + 1))

    assert shown == masked(stream.decode()).strip()


def test_a_line_of_many_megabytes_is_redacted_in_pieces() -> None:
    seen: list[int] = []

    def redact(text: str) -> str:
        seen.append(len(text))
        return text

    out: list[str] = []
    LineSplitter(out.append, redact, max_chars=100).feed_text("x" * 100_000 + "\n")

    assert "".join(out) == "x" * 100_000
    assert max(seen) <= 400
