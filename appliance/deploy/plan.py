"""What a deployment must change, decided from what is there and what is wanted. Pure.

Every decision comes with its reason, for the log: "why was everything installed again?" is the
first question about a slow start.
"""

from dataclasses import asdict, fields
from enum import StrEnum
from typing import Any, TypeVar

from appliance.values import value_class

T = TypeVar("T")


@value_class
class Checkout:
    """A finished clone, as its record says; ``code_path`` is empty for the whole repository."""

    url: str
    ref: str
    code_path: str
    commit: str


@value_class
class EnvironmentFacts:
    """What a virtual environment was made from; another value of any means another environment."""

    interpreter: str
    version: str
    platform: str
    system_site_packages: bool
    installer: str


@value_class
class EnvironmentRecord:
    """What the record in a finished environment says; ``dependencies`` is empty while none are installed."""

    made_from: EnvironmentFacts
    dependencies: str = ""


class CheckoutStep(StrEnum):
    """What to do about the code."""

    CLONE = "clone"
    UPDATE = "update"


class EnvironmentStep(StrEnum):
    """What to do about the virtual environment."""

    REBUILD = "rebuild"
    INSTALL = "install"
    KEEP = "keep"


def plan_checkout(
    found: Checkout | None, head: str | None, url: str, code_path: str
) -> tuple[CheckoutStep, str]:
    """Whether to make another clone or to update this one, and why.

    ``found`` is the record of a finished clone, ``head`` the commit that git reads there, None where
    it cannot. Another branch or tag is an update; another URL or folder is another clone, since
    what a sparse clone left out is not there to be switched to.
    """
    if found is None:
        return CheckoutStep.CLONE, "there is no finished clone"
    if found.url != url:
        return CheckoutStep.CLONE, f"the repository was {found.url}"
    if found.code_path != code_path:
        return CheckoutStep.CLONE, f"the folder was {found.code_path or 'the whole repository'}"
    if head is None:
        return CheckoutStep.CLONE, "the clone is damaged"
    return CheckoutStep.UPDATE, "the clone is there"


def can_stay(found: Checkout, url: str, ref: str, code_path: str) -> bool:
    """Whether what is there can serve while the remote is away: it is a commit of the same thing."""
    return found == Checkout(url, ref, code_path, found.commit)


def plan_environment(
    found: EnvironmentRecord | None, *, works: bool, wanted: EnvironmentFacts, dependencies: str
) -> tuple[EnvironmentStep, str]:
    """Whether to make another environment, to install into this one, or to leave it, and why.

    ``works`` is whether its interpreter runs, ``dependencies`` the fingerprint of what is wanted.
    """
    if found is None:
        return EnvironmentStep.REBUILD, "there is no finished environment"
    changed = [
        f"{field.name} was {getattr(found.made_from, field.name)}"
        for field in fields(EnvironmentFacts)
        if getattr(found.made_from, field.name) != getattr(wanted, field.name)
    ]
    if changed:
        return EnvironmentStep.REBUILD, ", ".join(changed)
    if not works:
        return EnvironmentStep.REBUILD, "its interpreter does not run"
    if not found.dependencies:
        return EnvironmentStep.INSTALL, "dependencies were not installed to the end"
    if found.dependencies != dependencies:
        return EnvironmentStep.INSTALL, "dependencies changed"
    return EnvironmentStep.KEEP, "nothing changed"


def to_record(value: Checkout | EnvironmentRecord) -> dict[str, Any]:
    """The value as JSON data."""
    return asdict(value)


def read_checkout(data: object) -> Checkout | None:
    """The opposite of :func:`to_record`; None for anything else, such as another version's record."""
    return _read(Checkout, data)


def read_environment(data: object) -> EnvironmentRecord | None:
    """The opposite of :func:`to_record`; None for anything else, such as another version's record."""
    if not isinstance(data, dict) or set(data) != {"made_from", "dependencies"}:
        return None
    made_from = _read(EnvironmentFacts, data["made_from"])
    if made_from is None or not isinstance(data["dependencies"], str):
        return None
    return EnvironmentRecord(made_from, data["dependencies"])


def _read(kind: type[T], data: object) -> T | None:
    types = {field.name: field.type for field in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(data, dict) or set(data) != set(types):
        return None
    if any(type(value) is not types[name] for name, value in data.items()):
        return None
    return kind(**data)
