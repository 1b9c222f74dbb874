"""What a requirements file refers to on this machine, so that a change of it can be noticed. Pure.

This reads just enough of pip's format (its documentation's "Requirements File Format"): options
that name other files, and requirements that are local paths. Everything else is pip's to judge.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from urllib.parse import unquote

from appliance.values import value_class

_COMMENT = re.compile(r"(^|\s+)#.*$")
_OPTION = re.compile(
    r"(?P<name>--requirement|--constraint|--editable|--find-links|-[rcef])(?:\s+|\s*=\s*|(?<=-[rcef]))(?P<value>.+)"
)
_NAMED_URL = re.compile(r"[\w.-]+\s*(?:\[[^]]*\])?\s*@\s*(?P<url>\S+)")
_ARCHIVE = re.compile(r"\.(whl|zip|tar\.gz|tgz|tar\.bz2|tar\.xz)$", re.IGNORECASE)
#: What may follow a path in a requirement: extras, a marker, pip's own options.
_AFTER_PATH = re.compile(r"(\[[^]/]*\])?(\s*;.*|\s+--.*)?$")


class Kind(StrEnum):
    """What stands behind a reference."""

    REQUIREMENTS = "requirements"  # another file of the same format
    PACKAGE = "package"  # a project's folder or an archive
    LINKS = "links"  # a folder of archives, or a page of links


@value_class
class Reference:
    """``path`` is as written; a relative one starts at the file that names it or at the working directory."""

    kind: Kind
    path: str


def references(text: str) -> Iterator[Reference]:
    """The local files and folders that the requirements file with this ``text`` names."""
    joined = re.sub(r"\\\r?\n", "", text)
    for raw in joined.splitlines():
        line = _COMMENT.sub("", raw).strip()
        option = _OPTION.fullmatch(line)
        if option and option["name"] in {"-r", "--requirement", "-c", "--constraint"}:
            yield from _local(Kind.REQUIREMENTS, option["value"].strip())
        elif option and option["name"] in {"-f", "--find-links"}:
            yield from _local(Kind.LINKS, option["value"].strip())
        elif option:
            yield from _local(Kind.PACKAGE, _bare(option["value"].strip()))
        elif line and not line.startswith("-"):
            named = _NAMED_URL.match(line)
            target = named["url"] if named else _bare(line)
            if named or "/" in target or target.startswith(".") or _ARCHIVE.search(target):
                yield from _local(Kind.PACKAGE, target)


def _local(kind: Kind, target: str) -> Iterator[Reference]:
    if target.startswith("file:"):
        # file:///absolute, file://localhost/absolute, and pip's own file:relative
        path = re.sub(r"^file:(//(localhost)?(?=/))?", "", target)
        yield Reference(kind, unquote(re.split(r"[#?]", path)[0]))
    elif target and not re.match(r"[\w.+-]+:", target):
        yield Reference(kind, target)


def _bare(requirement: str) -> str:
    return _AFTER_PATH.sub("", requirement).strip()
