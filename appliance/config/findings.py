"""What reading one source of settings brought to light, before anything is decided. Pure."""

from dataclasses import dataclass, field

from appliance.config.option import Raw
from appliance.values import value_class


@value_class
class Found:
    """One option as one source has it.

    ``named`` opens a problem line ("RUNQY_CONCURRENCY='x'"), ``origin`` says where the value came
    from ("environment RUNQY_CONCURRENCY", "config.yml:3"). Where ``problem`` is set it completes the
    line: what the source has is no value at all, and ``raw`` means nothing. ``proper_name`` is set where
    the source uses the Go worker's name for it: what to write instead.
    """

    raw: Raw = field(repr=False)
    named: str
    origin: str
    problem: str = ""
    proper_name: str = ""


@dataclass
class Findings:
    """Everything one source has, by the name it has there, and lines about what is no option's value.

    A name is a path of the file, or a variable; an option's own variable counts as its path.

    ``complete`` is false where the source could not be read, so that an absent option means nothing.
    """

    found: dict[str, Found] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    complete: bool = True
