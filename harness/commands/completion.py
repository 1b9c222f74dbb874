"""``runqy-harness completion``: what a shell completes, as a script for it."""

import contextlib
import importlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from harness import cli
from harness.commands.operating import Action
from harness.commands.parser import Parser

_PROGRAM = "runqy-harness"


@dataclass(frozen=True)
class Words:
    """What may follow a command or an action; ``values`` maps options to what may follow them."""

    options: Sequence[str]
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """A command, with its actions where it has some."""

    name: str
    summary: str
    words: Words
    actions: Mapping[str, Words] = field(default_factory=dict)


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` ask for; returns the exit status."""
    parser = Parser(
        "completion",
        "Print a script that completes commands, actions and options. "
        f'bash: eval "$({_PROGRAM} completion bash)"; zsh: the same with zsh, after compinit; '
        f"fish: {_PROGRAM} completion fish | source.",
    )
    parser.add_argument("shell", choices=sorted(_SHELLS), help="the shell that is to complete")
    options = parser.parse_args(arguments)
    print(_SHELLS[options.shell](commands()), end="")
    return 0


def commands() -> list[Command]:
    """All commands whose packages are installed."""
    found = []
    for name, summary in cli.COMMANDS.items():
        with contextlib.suppress(ModuleNotFoundError):
            module = importlib.import_module(f"harness.commands.{name}")
            actions: Mapping[str, Action] = getattr(module, "ACTIONS", {})
            words = Words(["--help"]) if actions else Words(_options_of_help(module.run))
            found.append(
                Command(name, summary, words, {each: _words(make()) for each, (make, _) in actions.items()})
            )
    return found


def _words(parser: Parser) -> Words:
    options = [each for action in parser._actions for each in action.option_strings if each[:2] == "--"]
    values = {
        each: [str(choice) for choice in action.choices]
        for action in parser._actions
        if action.choices
        for each in action.option_strings
    }
    return Words(options, values)


def _options_of_help(command: Callable[[Sequence[str]], int]) -> list[str]:
    """Those of a command that makes its parser when it runs."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        command(["--help"])
    listed = r"(?m)(?:^ {2}(?:-\w(?: \w+)?, )?|\[)(--[a-z][a-z-]*)"
    return list(dict.fromkeys(re.findall(listed, out.getvalue())))


def bash(known: Sequence[Command]) -> str:
    """For bash, from 3.2 on."""
    cases = []
    for command in known:
        if not command.actions:
            cases.append(f"            {command.name}) words={_quoted(command.words.options)} ;;")
            continue
        names = [*command.actions, *command.words.options]
        cases.append(
            f'            {command.name}) if [ "$COMP_CWORD" -eq 2 ]; then words={_quoted(names)}; else'
        )
        cases.append('                case "${COMP_WORDS[2]}" in')
        cases += [
            f"                    {name}) words={_quoted(words.options)} ;;"
            for name, words in command.actions.items()
        ]
        cases.append("                esac; fi ;;")
    values = {
        option: each
        for command in known
        for words in command.actions.values()
        for option, each in words.values.items()
    }
    lines = [
        "_runqy_harness() {",
        '    local words="" word="${COMP_WORDS[COMP_CWORD]}"',
        '    case "${COMP_WORDS[COMP_CWORD-1]}" in',
        *(f"        {option}) words={_quoted(each)} ;;" for option, each in values.items()),
        "    esac",
        '    if [ "$COMP_CWORD" -eq 1 ]; then',
        f"        words={_quoted([command.name for command in known])}",
        '    elif [ -z "$words" ]; then',
        '        case "${COMP_WORDS[1]}" in',
        *cases,
        "        esac",
        "    fi",
        "    # Where no word fits, a file may be meant.",
        '    COMPREPLY=($(compgen -W "$words" -- "$word"))',
        "}",
        f"complete -o default -F _runqy_harness {_PROGRAM}",
    ]
    return "\n".join(lines) + "\n"


def zsh(known: Sequence[Command]) -> str:
    """For zsh, which completes with bash's function."""
    return f"autoload -U +X bashcompinit && bashcompinit\n{bash(known)}"


def fish(known: Sequence[Command]) -> str:
    """For fish."""
    lines = []
    for command in known:
        summary = command.summary.replace("'", "\\'")
        lines.append(f"complete -c {_PROGRAM} -f -n __fish_use_subcommand -a {command.name} -d '{summary}'")
        seen = f"__fish_seen_subcommand_from {command.name}"
        for option in command.words.options:
            lines.append(f"complete -c {_PROGRAM} -n '{seen}' -l {option[2:]}")
        names = " ".join(command.actions)
        if names:
            unsaid = f"{seen}; and not __fish_seen_subcommand_from {names}"
            lines.append(f"complete -c {_PROGRAM} -f -n '{unsaid}' -a '{names}'")
        for name, words in command.actions.items():
            for option in words.options:
                values = words.values.get(option)
                offered = f" -x -a '{' '.join(values)}'" if values else ""
                said = f"{seen}; and __fish_seen_subcommand_from {name}"
                lines.append(f"complete -c {_PROGRAM} -n '{said}' -l {option[2:]}{offered}")
    return "\n".join(dict.fromkeys(lines)) + "\n"


def _quoted(words: Sequence[str]) -> str:
    return '"' + " ".join(words) + '"'


_SHELLS: Mapping[str, Callable[[Sequence[Command]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
