"""The table of options as files for people: the reference page, and a configuration file to start from.

``make reference`` writes both into ``docs/``; a test holds that what is there is what this makes.
"""

import sys
from inspect import cleandoc
from pathlib import Path
from textwrap import wrap

from appliance.config.option import SECTIONS, Option
from appliance.config.options import OPTIONS

#: What the files are called in the folder of documents.
PAGE, EXAMPLE = "configuration.md", "config.example.yml"

_PAGE_HEAD = f"""# Configuration reference

<!-- Made by `make reference` from appliance/config/options.py; what is changed here is lost. -->

Every setting, by section of the file. A variable wins over the file, the file over the default; an empty
variable or value counts as not set. `runqy-appliance config` prints what is in force and where it comes from,
`runqy-appliance validate` checks it without starting anything. A file to start from:
[{EXAMPLE}]({EXAMPLE}).

Durations are written as in Go (`500ms`, `30s`, `1m30s`, `24h`), sizes as whole `MiB` or `GiB`. In the file,
`${{VAR}}` and `${{VAR:-default}}` stand for variables and `$${{` for a literal `${{`. Every value is
checked at the start: a wrong one ends the worker with status 2 and a line that names it.

"From" says where a setting comes from: the *specification* of runqy's worker, whose name, default and meaning
are kept, or *ours*. A variable `…_FILE` names a file whose content is the value; set it or the variable, not
both.
"""

_EXAMPLE_HEAD = """\
# Every setting of the runqy worker with its default; made by `make reference`.
#
# A # without a blank behind it makes a setting a comment: it has its default, and need not be here.
# The variable in brackets, where it is set, wins over this file.
# Check a changed file with: runqy-appliance validate -config FILE
"""

#: What the example says where a setting has no default.
_EXAMPLES = {
    "server.url": "http://localhost:8081",
    "server.api_key": "your-secret-api-key",
    "worker.queues": "inference",
}


def page() -> str:
    """Return the reference page, Markdown."""
    return "\n".join([_PAGE_HEAD, *("\n".join(_section(name)) for name in SECTIONS)])


def example() -> str:
    """Return the annotated file: required settings with a made-up value, the others commented out.

    Commented out because a few settings mean something by being set at all.
    """
    lines = [_EXAMPLE_HEAD]
    for name in SECTIONS:
        lines += [f"# {_about(name)}", f"{name}:"]
        for option in _options(name):
            lines += [*_example_entry(option), ""]
    return "\n".join(lines).rstrip() + "\n"


def write(folder: Path) -> None:
    """Write both files."""
    (folder / PAGE).write_text(page(), encoding="utf-8")
    (folder / EXAMPLE).write_text(example(), encoding="utf-8")


def _section(name: str) -> list[str]:
    return [
        f"## `{name}`",
        "",
        _about(name),
        "",
        "| variable and key in the file | default | allowed | unit | meaning | from |",
        "|---|---|---|---|---|---|",
        *map(_row, _options(name)),
        "",
    ]


def _row(option: Option) -> str:
    variables = [name for name in (option.variable, option.file_variable) if name]
    names = "<br>".join(f"`{name}`" for name in (*variables, option.path, *option.aliases))
    meaning = " ".join([option.doc, *_relations(option)])
    cells = (names, _default(option), option.kind.allowed, option.kind.unit, meaning, option.origin.value)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _relations(option: Option) -> list[str]:
    lines = []
    if option.at_most:
        lines.append(f"At most {'half of ' if option.at_most.half else ''}`{option.at_most.path}`.")
    if option.needs:
        lines.append(f"Needs `{option.needs}`.")
    if option.go_names:
        names = ", ".join(f"`{name}`" for name in option.go_names)
        lines.append(f"Understood by the Go worker's name too: {names}.")
    if option.secret:
        lines.append("Secret: masked wherever it would be shown.")
    return lines


def _default(option: Option) -> str:
    if option.required:
        return "required"
    return "not set" if option.default is None else f"`{option.show(option.default)}`"


def _example_entry(option: Option) -> list[str]:
    key = option.path.partition(".")[2]
    about = [*wrap(option.doc, 100), *wrap(f"[{option.variable}] {option.kind.allowed}", 100)]
    value = "" if option.default is None else option.show(option.default)
    entry = f"  {key}: {_EXAMPLES[option.path]}" if option.required else f"  #{key}: {value}".rstrip()
    return [*(f"  # {line}" for line in about), entry]


def _options(section: str) -> list[Option]:
    return [option for option in OPTIONS if option.section == section]


def _about(section: str) -> str:
    first = cleandoc(SECTIONS[section].__doc__).partition("\n\n")[0]
    sentence = " ".join(first.replace("``", "`").split()).partition(". ")[0]
    return sentence.rstrip(".") + "."


if __name__ == "__main__":
    write(Path(sys.argv[1]))
