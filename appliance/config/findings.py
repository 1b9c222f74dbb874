"""What reading one source of settings brought to light, before anything is decided."""

from dataclasses import dataclass, field

from appliance.config.options import Raw


@dataclass(frozen=True)
class Found:
    """One option as one source has it.

    ``named`` opens a problem line ("RUNQY_CONCURRENCY='x'"), ``origin`` says where the value came
    from ("environment RUNQY_CONCURRENCY", "config.yml:3"). Where ``problem`` is set it completes the
    line: what the source has is no value at all, and ``raw`` means nothing.
    """

    raw: Raw = field(repr=False)
    named: str
    origin: str
    problem: str = ""


@dataclass
class Findings:
    """Everything one source has: by option path (or alias), and lines about what is no option's value.

    ``complete`` is false where the source could not be read, so that an absent option means nothing.
    """

    found: dict[str, Found] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    complete: bool = True
