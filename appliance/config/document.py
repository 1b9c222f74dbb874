"""The configuration file's text, turned into findings with positions. Pure: text in, findings out.

YAML is composed into nodes and never constructed into objects: nodes know their line and column
and keep a scalar as it was written, and no tag can make anything happen. Anchors and aliases work;
merge keys are refused, because a key that comes from elsewhere has no position to point at.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

import yaml
from yaml.reader import ReaderError

from appliance.config.findings import Findings, Found
from appliance.config.option import SECTIONS, Option
from appliance.config.options import OPTION_OF_PATH, did_you_mean
from appliance.config.substitution import sole_reference, substitute

_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = {_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp", "value")}


def read_document(text: str, name: str, environ: Mapping[str, str]) -> Findings:
    """Return what the YAML ``text`` of the file ``name`` says; ``environ`` feeds ``${VAR}``."""
    findings = Findings()
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as exc:
        return Findings(problems=[_syntax_problem(exc, text, name)], complete=False)
    except RecursionError:
        return Findings(problems=[f"{name}: is nested too deeply"], complete=False)
    if root is None or _is_null(root):
        return findings
    if not isinstance(root, yaml.MappingNode):
        findings.problems.append(f"{name}: must hold sections: {', '.join(SECTIONS)}")
        return findings
    for section, position, body in _entries(root, name, "", findings):
        if section not in SECTIONS:
            hint = did_you_mean(section, (*SECTIONS, *OPTION_OF_PATH))
            findings.warnings.append(f"{position} {section}: unknown section, ignored{hint}")
        elif isinstance(body, yaml.MappingNode):
            _read_section(section, body, name, environ, findings)
        elif not _is_null(body):
            keys = (path.partition(".")[2] for path in OPTION_OF_PATH if path.startswith(f"{section}."))
            findings.problems.append(f"{position} {section}: must be a section of {', '.join(keys)}")
    return findings


def _read_section(
    section: str, body: yaml.MappingNode, name: str, environ: Mapping[str, str], findings: Findings
) -> None:
    for path, position, node in _entries(body, name, f"{section}.", findings):
        if path not in OPTION_OF_PATH:
            hint = did_you_mean(path, tuple(OPTION_OF_PATH))
            findings.warnings.append(f"{position} {path}: unknown key, ignored{hint}")
            continue
        option = OPTION_OF_PATH[path]
        if not option.required and (name_unset := _unset(node, environ)):
            # The Go worker reads such a value as empty, which is "not set".
            findings.warnings.append(
                f"{position} {path}: refers to {name_unset}, which is not set: the default applies"
            )
            continue
        found = _found(option, f"{position} {path}", position.rpartition(":")[0], node, environ)
        if found is not None:
            proper_name = option.path if path in option.go_names else ""
            findings.found[path] = replace(found, proper_name=proper_name)


def _found(
    option: Option, label: str, origin: str, node: yaml.Node, environ: Mapping[str, str]
) -> Found | None:
    """Return the option's value in the file; None for null and the empty text, which mean "not set"."""
    try:
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            items = tuple(_text(item, environ) for item in node.value)
            return Found(items, f"{label}={option.show_raw(items)}", origin)
        text = _text(node, environ)
    except ValueError as exc:
        return Found("", label, origin, problem=f"must be {option.kind.allowed} ({exc})")
    return Found(text, f"{label}={option.show_raw(text)}", origin) if text else None


def _unset(node: yaml.Node, environ: Mapping[str, str]) -> str:
    """The name of the variable, if the value is one reference and the variable is not set; else empty."""
    name = sole_reference(node.value) if isinstance(node, yaml.ScalarNode) else None
    return name if name and name not in environ else ""


def _text(node: yaml.Node, environ: Mapping[str, str]) -> str:
    """Return a scalar as it was written, with variables filled in; raises ValueError."""
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError("expected a single value, got a section")  # noqa: TRY004 - the file's fault, not a type's
    if node.tag not in _PLAIN_TAGS:
        raise ValueError("it has a YAML tag")
    if _is_null(node):
        return ""
    return substitute(node.value, environ) if node.tag == _TAG + "str" else str(node.value)


def _entries(
    mapping: yaml.MappingNode, name: str, prefix: str, findings: Findings
) -> Iterator[tuple[str, str, yaml.Node]]:
    """Yield (path, position, value) of each entry; reports keys given twice or not plain text."""
    seen: dict[str, str] = {}
    for key, value in mapping.value:
        position = f"{name}:{key.start_mark.line + 1}:{key.start_mark.column + 1}"
        if not isinstance(key, yaml.ScalarNode) or key.tag not in _PLAIN_TAGS:
            findings.problems.append(f"{position}: a key must be plain text (merge keys are not understood)")
            continue
        path = prefix + (key.value if key.value.isprintable() else repr(key.value))
        if path in seen:
            findings.problems.append(f"{position} {path}: is given a second time, after {seen[path]}")
            continue
        seen[path] = position
        yield path, position, value


def _is_null(node: yaml.Node) -> bool:
    return node.tag == _TAG + "null"


def _syntax_problem(error: yaml.YAMLError, text: str, name: str) -> str:
    """Say what is wrong without the excerpt of the file PyYAML would add: it may show a secret."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        line, column = error.problem_mark.line + 1, error.problem_mark.column + 1
        # Aliases and tags are quoted in the message; "*hunter2" is an alias to YAML.
        what = re.sub(r"'(?![<\\])[^']{2,}'", "'...'", error.problem or "")
        return f"{name}:{line}:{column}: is not YAML: {what}"
    if isinstance(error, ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        return f"{name}:{line}:{column}: is not YAML: it has a control character"
    return f"{name}: is not YAML"
