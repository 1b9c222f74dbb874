"""One word, one thing, in plain English: the words to avoid stand nowhere in what people read."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: What is held to the list: code with its names, comments, help and log events, and every page.
HELD = (
    "README.md",
    "Makefile",
    "Dockerfile",
    "entrypoint.sh",
    "docs",
    "compose",
    "examples",
    "appliance",
    "harness",
)
#: Word or phrase → what to say instead.
AVOID = {
    "somebody": "the actor: an operator, another worker, a client",
    "someone": "the same",
    "nobody": "the actor, or what is missing",
    "whoever": "the actor",
    "anew": "again",
    "be it": "whether",
    "told of": "said, named, listed",
    "of ours": "this project's, our",
    "of its own": "its own",
    "of their own": "their own",
    "what came of": "the result, the outcome",
    "what comes of": "the result, the outcome",
    "in the clear": "unencrypted",
    "put off": "deferred",
    "put_off": "deferred",
    "given back": "returned",
    "given_back": "returned",
    "doom": "set the outcome",
    "bury": "name what happens",
}
_SUFFIXES = {".py", ".lua", ".md", ".sh", ".yml", ".yaml", ".css", ".toml", ".hcl", ".json", ""}


def _pattern(words: str) -> re.Pattern[str]:
    left = r"(?<![A-Za-z])" if words[0].isalpha() else ""
    right = r"(?![A-Za-z])" if words[-1].isalpha() else ""
    return re.compile(left + re.escape(words).replace(r"\ ", r"\s+(?:#\s*)?") + right, re.IGNORECASE)


PATTERNS = {words: _pattern(words) for words in AVOID}


def found_in(text: str) -> Iterator[tuple[int, str]]:
    """Line numbers and the words to avoid, also where a phrase goes on in the next line."""
    for words, pattern in PATTERNS.items():
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, words


def _files(held: str) -> Iterator[Path]:
    place = ROOT / held
    paths = place.rglob("*") if place.is_dir() else [place]
    for path in sorted(paths):
        if path.is_file() and path.suffix in _SUFFIXES and "__pycache__" not in path.parts:
            yield path


@pytest.mark.parametrize("held", HELD)
def test_words_to_avoid_are_avoided(held: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {words!r}: say {AVOID[words]}"
        for path in _files(held)
        for line, words in found_in(path.read_text())
    ]

    assert not found, "\n".join(found)


@pytest.mark.parametrize("words", AVOID)
def test_each_of_them_would_be_found(words: str) -> None:
    text = f"first line\nsecond, {words} here; {words.capitalize()}.\n"

    assert {(2, words)} <= set(found_in(text))


def test_a_phrase_is_found_across_lines_and_comments() -> None:
    assert list(found_in("# a process of\n# its own")) == [(1, "of its own")]


def test_a_word_inside_another_is_not_found() -> None:
    assert not list(found_in("renewed, doomsday, because of itself"))
