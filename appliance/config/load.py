"""From sources to settings: variables over the file over defaults, every problem reported at once."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from appliance.config.findings import Findings, Found
from appliance.config.kinds import FilePath, QueueNames
from appliance.config.options import OPTION_OF_PATH, OPTIONS, SECTIONS, Option, missing
from appliance.config.settings import RedisSettings, Settings
from appliance.config.sources import from_environment, from_file, unusable
from appliance.config.stop_grace import shortage
from appliance.config.tls import file_problem
from appliance.errors import ConfigurationError


@dataclass(frozen=True)
class Loaded:
    """The effective settings, where each came from, and what was ignored or adjusted.

    ``origins`` maps every option's path to "environment RUNQY_X", "config.yml:3" or "default";
    ``warnings`` are single lines.
    """

    settings: Settings
    origins: Mapping[str, str]
    warnings: tuple[str, ...]


def load(environ: Mapping[str, str], config_file: Path | None, cwd: Path) -> Loaded:
    """Read the settings from ``environ`` and ``config_file`` (None: ``config.yml`` in ``cwd`` if there).

    Raises :class:`~appliance.errors.ConfigurationError` with all problems and warnings.
    """
    variables = from_environment(environ, cwd)
    file = from_file(config_file, cwd, environ)
    merge = _Merge(cwd, [*variables.problems, *file.problems], [*variables.warnings, *file.warnings])
    for option in OPTIONS:
        variable, in_file = variables.found.get(option.path), _from_file(option, file)
        if variable and in_file:
            merge.overridden(option, in_file, variable)
        if chosen := variable or in_file:
            merge.chosen(option, chosen)
        elif not option.required:
            merge.absent(option)
        elif file.complete:
            merge.problems.append(missing(option))
    for option in OPTIONS:
        if option.at_most:
            merge.order(option, OPTION_OF_PATH[option.at_most])
        if option.needs:
            merge.company(option, OPTION_OF_PATH[option.needs])
        if option.without:
            merge.rivals(option, OPTION_OF_PATH[option.without])
    merge.certificates()
    if merge.problems:
        raise ConfigurationError(tuple(merge.problems), tuple(merge.warnings))
    settings = _settings(merge.values, merge.origins)
    if problem := shortage(settings.worker, settings.process):
        merge.warnings.append(f"{merge.named('worker.stop_grace')}: {problem}")
    return Loaded(settings, merge.origins, tuple(merge.warnings))


class _Merge:
    """Values as they are decided on, with the problems and warnings on the way."""

    def __init__(self, cwd: Path, problems: list[str], warnings: list[str]) -> None:
        self.problems = problems
        self.warnings = warnings
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self._named: dict[str, str] = {}
        self._cwd = cwd

    def chosen(self, option: Option, found: Found) -> None:
        """Take the option's value from here."""
        self.origins[option.path] = found.origin
        self._named[option.path] = found.named
        try:
            value = _value(option, found, self._cwd)
        except ValueError as exc:
            self.problems.append(str(exc))
            return
        if isinstance(option.kind, QueueNames) and len(value) > len(set(value)):
            self.warnings.append(f"{found.named}: names a queue twice; it is served once")
            value = tuple(dict.fromkeys(value))
        self.values[option.path] = value

    def named(self, path: str) -> str:
        """How whoever set the option would know it again."""
        return self._named[path]

    def absent(self, option: Option) -> None:
        """Take the option's default."""
        self.values[option.path] = option.default
        self.origins[option.path] = "default"

    def overridden(self, option: Option, found: Found, winner: Found) -> None:
        """Look at a value nothing depends on: being wrong is no error there, but not passed over either."""
        try:
            _value(option, found, self._cwd)
        except ValueError as exc:
            self.warnings.append(f"{exc}; not used, {winner.origin} wins")

    def order(self, low: Option, high: Option) -> None:
        """Check that one option's value is not above another's.

        Only a warning where one of them is a default: nobody has contradicted himself.
        """
        if not {low.path, high.path} <= self.values.keys():
            return
        if self.values[low.path] <= self.values[high.path]:
            return
        blamed, must, other = (low, "not exceed", high) if low.path in self._named else (high, "reach", low)
        value, origin = other.show(self.values[other.path]), self.origins[other.path]
        if {low.path, high.path} <= self._named.keys():
            problem = f"{self._named[blamed.path]}: must {must} {other.path}, which is {value} ({origin})"
            self.problems.append(problem)
        else:
            should = f"should {must} {other.path}, which is {value} ({origin})"
            self.warnings.append(f"{self._named[blamed.path]}: {should}; the smaller one applies")

    def company(self, option: Option, other: Option) -> None:
        """Check that an option is not set without one that it means nothing without."""
        if self.values.get(option.path) is None or self.values.get(other.path, "wrong") is not None:
            return
        self.problems.append(f"{self._named[option.path]}: needs {other.variable}, which is not set")

    def rivals(self, option: Option, other: Option) -> None:
        """Check that an option is not true beside one that says the contrary."""
        if self.values.get(option.path) and self.values.get(other.path):
            self.problems.append(f"{self._named[option.path]}: cannot go with {self._named[other.path]}")

    def certificates(self) -> None:
        """Check that TLS to Redis can be set up with the files that were named."""
        paths = {name: f"redis.{name}" for name in ("ca_file", "cert_file", "key_file")}
        if not self.values.keys() >= set(paths.values()):
            return
        redis = RedisSettings(**{name: self.values[path] for name, path in paths.items()})
        if found := file_problem(redis):
            name, reason = found
            allowed = OPTION_OF_PATH[paths[name]].kind.allowed
            self.problems.append(f"{self._named[paths[name]]}: must be {allowed} ({reason})")


def _value(option: Option, found: Found, cwd: Path) -> Any:
    """Return what was found as a value; raises ValueError whose text is the whole problem line."""
    if found.problem:
        raise ValueError(f"{found.named}: {found.problem}")
    wrong = f"{found.named}: must be {option.kind.allowed}"
    try:
        value = option.parse(found.raw)
    except ValueError as exc:
        raise ValueError(f"{wrong} ({exc})" if str(exc) else wrong) from exc
    if not isinstance(option.kind, FilePath):
        return value
    if reason := unusable(cwd / value, option.kind.folder):
        raise ValueError(f"{wrong} ({reason})")
    # git runs in other folders, where a relative key would be another file.
    return value if option.kind.folder else cwd / value


def _from_file(option: Option, file: Findings) -> Found | None:
    """Return what the file has for an option under any of its names (``queue`` beside ``queues``).

    Several may be given as long as one says all that the others say.
    """
    entries = [file.found[path] for path in (option.path, *option.aliases) if path in file.found]
    if len(entries) < 2:
        return entries[0] if entries else None
    widest, said = entries[0], set[str]()
    for entry in entries:
        if entry.problem:
            return entry
        try:
            names = set(option.parse(entry.raw))
        except ValueError:
            return entry
        if not (said <= names or names <= said):
            return replace(
                entry, problem=f"contradicts {widest.named}; give one of them, or the same in both"
            )
        if names > said:
            widest, said = entry, names
    return widest


def _settings(values: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    arguments: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for option in OPTIONS:
        arguments[option.section][option.field] = values[option.path]
    arguments["retry"]["max_retry_caps"] = origins["retry.max_retry"] != "default"
    return Settings(**{section: kind(**arguments[section]) for section, kind in SECTIONS.items()})
