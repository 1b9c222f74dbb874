"""Whether a start command can work, looked at once its files are there.

No shell runs it: it is split into words as a shell would split them, and the first word is the program.
What only a shell understands, or a script that no kernel starts, would fail at each start of the task
process; here it gets the one sentence that helps. The command as a whole is not shown: it may hold a secret.
"""

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from shutil import which

from appliance.deploy.files import read_beginning
from appliance.errors import DeploymentRejected

_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>.*)", re.DOTALL)
#: Commands that exist in shells alone; a program of one of these names changes nothing for what follows.
_BUILTINS = frozenset(("cd", "export", "source", ".", "exec", "set", "ulimit", "umask", "eval", "alias"))
#: A word that stands unquoted between others: the next command, a pipe, a redirection.
_OPERATOR = re.compile(r"&&|\|\|?|;|&|\d*(?:>>?|<)(?:&\d)?")
_VARIABLE = re.compile(r"\$(?:[A-Za-z_]|\{|\()|`")
#: A word that is nothing but a variable; any other word with a dollar sign may be a password.
_REFERENCE = re.compile(r"\"?\$(?:[A-Za-z_]\w*|\{[A-Za-z_]\w*\})\"?")
_SHELLS = frozenset(("sh", "bash", "dash", "zsh"))
#: Bytes of a script that are looked at; a first line is shorter.
_LOOKED_AT = 4096


def check_words(startup_cmd: str) -> tuple[str, ...]:
    """What is odd about the command though it may work.

    Raises :class:`~appliance.errors.DeploymentRejected` for one that only a shell could run.
    """
    words = shlex.split(startup_cmd)
    if _ASSIGNMENT.fullmatch(words[0]):
        # Without the value, which may be a secret.
        name = words[0].partition("=")[0]
        raise _refused(
            f"{name}=… in front of a program sets a variable in a shell, and no shell runs this: give {name} "
            "in a vault of the queue, or put the word env in front of it all"
        )
    if words[0] in _BUILTINS:
        # Its folder is what "cd" is for nearly always.
        instead = "set deployment.code_path to that folder" if words[0] == "cd" else "put it into a script"
        raise _refused(
            f"{words[0]} is a command of shells, and no shell runs this: {instead}, or put sh -c in front "
            "of it all, in quotes"
        )
    return tuple(f"startup_cmd: {oddity}" for oddity in _oddities(startup_cmd))


def check_script(startup_cmd: str, code_dir: Path, venv_dir: Path | None, env: Mapping[str, str]) -> None:
    """Look at the script that the command names, if it names one; ``env`` is the worker's own environment.

    Raises :class:`~appliance.errors.DeploymentRejected` for one that no kernel or shell starts.
    """
    words = shlex.split(startup_cmd)
    name = words[0]
    if name in _SHELLS and len(words) > 1 and not words[1].startswith("-"):
        _check_line_ends(words[1], _beginning(code_dir / words[1]))
    beginning = _beginning(code_dir / name) if "/" in name else b""
    if not beginning:
        return
    if not os.access(code_dir / name, os.X_OK):
        run_by = "python" if name.endswith(".py") else "sh"
        raise _refused(
            f"{name} is not executable: commit it with its execute bit (git update-index --chmod=+x), or "
            f"put {run_by} in front of it"
        )
    _check_line_ends(name, beginning)
    path = env.get("PATH") or os.defpath
    _check_interpreter(name, beginning, path if venv_dir is None else f"{venv_dir / 'bin'}{os.pathsep}{path}")


def _check_line_ends(name: str, beginning: bytes) -> None:
    # The two bytes stand by chance in compiled programs, which have zero bytes as well.
    if b"\r\n" in beginning and b"\0" not in beginning:
        raise _refused(
            f"{name} has Windows line ends (CRLF), which the kernel and shells take for part of the words: "
            f"commit it with LF, and put {Path(name).name} text eol=lf into .gitattributes"
        )


def _check_interpreter(name: str, beginning: bytes, path: str) -> None:
    if not beginning.startswith(b"#!"):
        # A program has zero bytes near its beginning, a script has none.
        if b"\0" not in beginning:
            raise _refused(f"{name} needs a first line that names its interpreter, such as #!/bin/sh")
        return
    words = beginning[2:].split(b"\n", 1)[0].decode(errors="replace").split()
    wanted, found = "", None
    if len(words) > 1 and words[0].endswith("/env") and not words[1].startswith("-"):
        wanted, found = words[1], which(words[1], path=path)
    elif words:
        wanted, found = words[0], which(words[0])
    if found is None:
        raise _refused(f"the first line of {name} names {wanted!r}, which this machine does not have")


def _beginning(path: Path) -> bytes:
    try:
        return read_beginning(path, _LOOKED_AT)
    except OSError:
        # Whether there is such a program is for starting it to find out.
        return b""


def _oddities(startup_cmd: str) -> Iterator[str]:
    lexer = shlex.shlex(startup_cmd, posix=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    # Quotes stay in these words, so that what is quoted, and meant as it stands, is left alone.
    for number, word in enumerate(lexer, 1):
        if _OPERATOR.fullmatch(word) or word.endswith(";"):
            shown = word if _OPERATOR.fullmatch(word) else f"word {number}, with the ; behind it,"
            yield f"{shown} is passed to the program as it stands, because no shell runs the command"
        elif _VARIABLE.search(word) and not word.startswith("'"):
            shown = word if _REFERENCE.fullmatch(word) else f"word {number}"
            yield f"{shown} is passed to the program as it stands: variables are not filled in"


def _refused(why: str) -> DeploymentRejected:
    return DeploymentRejected(f"deployment.startup_cmd: {why}")
