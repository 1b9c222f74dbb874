"""The table of options as text: what ``--help`` lists and what ``config`` prints. Pure."""

import textwrap
from collections.abc import Mapping
from typing import Any

from appliance.config.option import SECTIONS, Option
from appliance.config.options import OPTIONS
from appliance.config.settings import Settings


def options_help() -> str:
    """Return every option by section: variable, place in the file, meaning, allowed, unit, default."""
    return "\n".join(
        "\n".join([f"{section}:", *(_help(option) for option in OPTIONS if option.section == section)]) + "\n"
        for section in SECTIONS
    )


def settings_lines(settings: Settings, origins: Mapping[str, str]) -> list[str]:
    """Return one line per option: path, effective value, origin; secrets masked."""
    shown = {option.path: option.show(_value(option, settings)) for option in OPTIONS}
    path_width, value_width = max(map(len, shown)), min(40, max(map(len, shown.values())))
    return [f"{path:<{path_width}}  {value:<{value_width}}  {origins[path]}" for path, value in shown.items()]


def settings_json(settings: Settings, origins: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return ``{path: {"value", "origin"}}`` for JSON.

    Numbers, booleans, null and lists are themselves, durations, sizes and paths texts as in the file,
    secrets masked.
    """
    return {
        option.path: {"value": _plain(option, _value(option, settings)), "origin": origins[option.path]}
        for option in OPTIONS
    }


def _help(option: Option) -> str:
    default = "required" if option.required else f"default {option.show(option.default)}"
    unit = f"; unit: {option.kind.unit}" if option.kind.unit else ""
    paragraphs = [option.doc, f"[{default}{unit}] {option.kind.allowed}"]
    lines = [f"  {option.variable}  ({' or '.join((option.path, *option.aliases))})"]
    if option.file_variable:
        lines.append(f"  {option.file_variable}  (the path of a file that holds it, instead)")
    lines += [f"  {name}  (the Go worker's name for it)" for name in option.go_names]
    indent = " " * 6
    lines += [
        textwrap.fill(text, 100, initial_indent=indent, subsequent_indent=indent) for text in paragraphs
    ]
    return "\n".join(lines)


def _value(option: Option, settings: Settings) -> Any:
    return getattr(getattr(settings, option.section), option.field)


def _plain(option: Option, value: Any) -> Any:
    if value is None:
        return None
    return option.show(value) if option.secret else option.kind.plain(value)
