"""What Python itself says is missing or wrong: the file, the line, and what to add. Pure.

Reads the end of a traceback as CPython prints it, or the text of its last line alone, which is what
the SDK hands on of an error in ``@load`` or in a task.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from harness.certify.finding import Advice

#: Where a module's package is called otherwise, for those that are met most often.
_PACKAGES = {
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "Crypto": "pycryptodome",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "fitz": "PyMuPDF",
    "google.protobuf": "protobuf",
    "jwt": "PyJWT",
    "magic": "python-magic",
    "MySQLdb": "mysqlclient",
    "OpenSSL": "pyOpenSSL",
    "PIL": "pillow",
    "psycopg2": "psycopg2-binary",
    "runqy_python": "runqy-python",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
}
#: A frame, or the place of a syntax error.
_PLACE = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)')
#: Where workers clone to, and what they install there.
_CLONE = re.compile(r"^.*/deployment/[^/]+/")
_INSTALLED = ("/site-packages/", "/dist-packages/", "/lib/python", "<frozen ")


#: As far back as stderr is read: what stands before was no reason to end.
TRACEBACK_LINES = 40
#: Where starting is explained, and the lines of an answer.
_STARTING, _LINES = "docs/task-process.md#starting-and-ending", "docs/task-process.md#lines"


def diagnose(lines: Iterable[str], last_words: str = "") -> Advice | None:
    """Look for a known fault in what was printed on stderr, and in ``last_words``; None for any other."""
    printed = list(lines)
    text = "\n".join([*printed, last_words])
    all_found = [(found, advise) for pattern, advise in _FAULTS for found in pattern.finditer(text)]
    if not all_found:
        return None
    # The last one: what came before was caught, or led to it.
    found, advise = max(all_found, key=lambda each: each[0].start())
    return advise(found, _place(printed))


def _no_script(found: re.Match[str], _place: str) -> Advice:
    name = _CLONE.sub("", found["name"])
    return Advice(
        f"the start command names {name}, which is not in the code",
        f"Add {name} to the repository, or name the program that is there (--startup-cmd; --code-path is the "
        "folder that it starts in).",
        _STARTING,
    )


def _no_module(found: re.Match[str], place: str) -> Advice:
    return Advice(
        f"module {found['name']} is not installed{_at(place)}",
        f"Add {_package(found['name'])} to requirements.txt. A module of your own has to be in the "
        "repository, in or below the folder that the code starts in.",
        _STARTING,
    )


def _no_name(found: re.Match[str], place: str) -> Advice:
    module = found["module"]
    return Advice(
        f"{module} has no {found['name']}{_at(place)}",
        f"Another version of {_package(module)} than yours was installed: say in requirements.txt which one "
        "it has to be. A file of yours that is called like a package hides that package.",
        _STARTING,
    )


def _syntax(found: re.Match[str], place: str) -> Advice:
    return Advice(
        f"Python does not understand the code: {found['what']}{_at(place)}",
        f"Correct {place or 'the file'}. Code for a newer Python than the worker's ends like this, too.",
        _STARTING,
    )


def _no_file(found: re.Match[str], place: str) -> Advice:
    return Advice(
        f"there is no file {_CLONE.sub('', found['name'][1:-1])}{_at(place)}",
        "Add it to the repository (does .gitignore leave it out?), or fetch it when the process starts. A "
        "relative path counts from the folder that the code starts in.",
        _STARTING,
    )


def _too_long(found: re.Match[str], _place: str) -> Advice:
    return Advice(
        f"the answer was refused: it is longer than {int(found['most']) // 2**20} MiB",
        "Put what is large where others can fetch it, and return where that is.",
        _LINES,
    )


#: What Python says, and the advice.
_FAULTS: Sequence[tuple[re.Pattern[str], Callable[[re.Match[str], str], Advice]]] = (
    (re.compile(r"can't open file '(?P<name>[^']+)': \[Errno 2\]"), _no_script),
    (re.compile(r"No module named '(?P<name>[\w.]+)'"), _no_module),
    (re.compile(r"cannot import name '(?P<name>\w+)' from '(?P<module>[\w.]+)'"), _no_name),
    (re.compile(r"^(?:SyntaxError|IndentationError|TabError): (?P<what>.+)", re.MULTILINE), _syntax),
    (re.compile(r"\[Errno 2\] No such file or directory: (?P<name>'[^']*'|\"[^\"]*\")"), _no_file),
    # The worker's own words of an answer that it does not read.
    (re.compile(r"a line of \d+ bytes was dropped: at most (?P<most>\d+) are read"), _too_long),
)


def _place(lines: Sequence[str]) -> str:
    """The last place in the author's own code, as ``file.py, line 3``; empty where none is named."""
    places = [found for line in lines if (found := _PLACE.match(line))]
    own = [found for found in places if not any(part in found["file"] for part in _INSTALLED)]
    return f"{_CLONE.sub('', own[-1]['file'])}, line {own[-1]['line']}" if own else ""


def _package(module: str) -> str:
    first = module.partition(".")[0]
    return _PACKAGES.get(module) or _PACKAGES.get(first) or first


def _at(place: str) -> str:
    return f" ({place})" if place else ""
