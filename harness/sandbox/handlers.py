"""The example handlers: which there are, what each does by its own docstring, and its files.

A handler is one file of ``harness/handlers``; its docstring is read, never the code run: the first line
says what it does, lines ``HANDLER_…: …`` what may be set, and ``Outcome: …`` how its tasks end.
"""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

#: Understood by every handler that keeps a diary: a file, or stderr.
DIARY = "HANDLER_DIARY"

_SETTING = re.compile(r"(HANDLER_[A-Z_]+): (.+)", re.DOTALL)
_OUTCOME = "Outcome: "


@dataclass(frozen=True)
class Behaviour:
    """An example handler. ``settings`` maps a variable to what it does; ``sdk``: it needs that."""

    name: str
    does: str
    outcome: str
    settings: Mapping[str, str]
    sdk: bool


def handler_names() -> list[str]:
    """The names there are, sorted."""
    return sorted(_text_files(_folder()))


def handler_source(name: str) -> str:
    """The text of an example handler, such as ``echo``. Raises ValueError with the names there are."""
    known = handler_names()
    if name not in known:
        raise ValueError(f"handler {name!r}: expected one of {', '.join(known)}")
    return _folder().joinpath(f"{name}.py").read_text()


def handler_files(name: str) -> dict[str, str]:
    """What a repository of the handler needs (path → text): ``main.py``, and the modules it imports.

    Raises ValueError with the names there are.
    """
    shared = {f"{module}.py": text for module, text in _text_files(_folder().joinpath("shared")).items()}
    return {"main.py": handler_source(name), **shared}


def behaviour(name: str) -> Behaviour:
    """What the handler's docstring says. Raises ValueError where that lacks something, or there is none."""
    source = handler_source(name)
    docstring = ast.get_docstring(ast.parse(source)) or ""
    does, *paragraphs = (" ".join(part.split()) for part in re.split(r"\n\n|\n(?=HANDLER_)", docstring))
    settings = {found[1]: found[2] for part in paragraphs if (found := _SETTING.fullmatch(part))}
    outcomes = [part.removeprefix(_OUTCOME) for part in paragraphs if part.startswith(_OUTCOME)]
    if not does or len(outcomes) != 1:
        raise ValueError(f"handler {name!r}: its docstring needs a first line and one paragraph {_OUTCOME!r}")
    return Behaviour(name, does, outcomes[0], settings, "runqy_python" in source)


def behaviours() -> tuple[Behaviour, ...]:
    """All of them, by name."""
    return tuple(behaviour(name) for name in handler_names())


def as_table() -> str:
    """All of them as a table of Markdown, for the documentation."""
    rows = ["| handler | SDK | what it does | set by | how its tasks end |", "|---|---|---|---|---|"]
    for each in behaviours():
        settings = "<br>".join(f"`{name}` {text}" for name, text in each.settings.items())
        sdk = "yes" if each.sdk else ""
        rows.append(f"| `{each.name}` | {sdk} | {each.does} | {settings} | {each.outcome} |")
    return "\n".join(rows) + "\n"


def as_text() -> str:
    """All of them for a terminal."""
    blocks = []
    for each in behaviours():
        lines = [f"{each.name}{'' if each.sdk else '  (without the SDK)'}", f"    {each.does}"]
        lines += [f"      {name}: {text}" for name, text in each.settings.items()]
        blocks.append("\n".join([*lines, f"    → {each.outcome}"]))
    return "\n".join(blocks) + "\n"


def _folder() -> Traversable:
    return resources.files("harness").joinpath("handlers")


def _text_files(folder: Traversable) -> dict[str, str]:
    """Module names to texts."""
    entries = (entry for entry in folder.iterdir() if entry.name.endswith(".py"))
    return {entry.name.removesuffix(".py"): entry.read_text() for entry in entries}
