"""From sources to settings: variables over the file over defaults, every problem reported at once."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from appliance.config.findings import Findings, Found
from appliance.config.kinds.base import Place
from appliance.config.option import SECTIONS, Bound, Option, missing
from appliance.config.options import OPTION_OF_PATH, OPTIONS
from appliance.config.settings import RedisSettings, Settings
from appliance.config.sources import from_environment, from_file, secret_files, unusable
from appliance.config.stop_grace import shortage
from appliance.config.tls import file_problem
from appliance.errors import ConfigurationError
from appliance.values import value_class

#: Python's own variable, which is in no table.
KEY_LOG = "SSLKEYLOGFILE"


@value_class
class Loaded:
    """The effective settings, where each came from, and what was ignored or adjusted.

    ``origins`` maps every option's path to "environment RUNQY_X", "config.yml:3" or "default";
    ``warnings``, ``run_warnings`` and ``notes`` are single lines: ``run_warnings`` concern a worker that
    runs, not commands that only look; notes are about settings that were understood by the Go worker's
    name for them.
    """

    settings: Settings
    origins: Mapping[str, str]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    run_warnings: tuple[str, ...] = ()


def load(environ: Mapping[str, str], config_file: Path | None, cwd: Path) -> Loaded:
    """Read the settings from ``environ`` and ``config_file`` (None: ``config.yml`` in ``cwd`` if there).

    Raises :class:`~appliance.errors.ConfigurationError` with all problems and warnings.
    """
    variables = from_environment(environ, cwd)
    file = from_file(config_file, cwd, environ)
    merge = _Merge(cwd, [*variables.problems, *file.problems], [*variables.warnings, *file.warnings])
    for option in OPTIONS:
        variable, in_file = merge.from_source(option, variables), merge.from_source(option, file)
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
            merge.order(option, option.at_most)
        if option.needs:
            merge.company(option, OPTION_OF_PATH[option.needs])
        if option.without:
            merge.rivals(option, OPTION_OF_PATH[option.without])
    merge.key_log(environ)
    merge.certificates()
    if merge.problems:
        raise ConfigurationError(tuple(merge.problems), tuple(merge.warnings))
    settings = _settings(merge.values, merge.origins, secret_files(environ, config_file, cwd))
    if problem := shortage(settings.worker, settings.process):
        merge.run_warnings.append(f"{merge.named('worker.stop_grace')}: {problem}")
    return Loaded(
        settings, merge.origins, tuple(merge.warnings), tuple(merge.notes), tuple(merge.run_warnings)
    )


class _Merge:
    """The values chosen so far, with the problems and warnings found on the way."""

    def __init__(self, cwd: Path, problems: list[str], warnings: list[str]) -> None:
        self.problems = problems
        self.warnings = warnings
        self.notes: list[str] = []
        self.run_warnings: list[str] = []
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self._named: dict[str, str] = {}
        self._cwd = cwd

    def from_source(self, option: Option, source: Findings) -> Found | None:
        """What the source has for the option under any of its names; a name of the Go worker's is noted."""
        entries = _entries(option, source)
        self.notes += [
            f"{entry.named}: understood as {entry.proper_name}; write that name from now on"
            for entry in entries
            if entry.proper_name
        ]
        return _agreed(option, entries)

    def chosen(self, option: Option, found: Found) -> None:
        """Take the option's value from here."""
        self.origins[option.path] = found.origin
        self._named[option.path] = found.named
        try:
            value = _value(option, found, self._cwd)
        except ValueError as exc:
            self.problems.append(str(exc))
            return
        self.values[option.path] = option.kind.without_repetition(value)
        if self.values[option.path] != value:
            self.warnings.append(f"{found.named}: names a queue twice; it is served once")

    def named(self, path: str) -> str:
        """The option as the operator wrote it: name, value, and position in the file."""
        return self._named[path]

    def absent(self, option: Option) -> None:
        """Take the option's default."""
        self.values[option.path] = option.default
        self.origins[option.path] = "default"

    def overridden(self, option: Option, found: Found, winner: Found) -> None:
        """Warn of a wrong value that another source overrides: it is not used, so it is no error."""
        try:
            _value(option, found, self._cwd)
        except ValueError as exc:
            self.warnings.append(f"{exc}; not used, {winner.origin} wins")

    def order(self, low: Option, bound: Bound) -> None:
        """Check that one option's value is not above another's, or half of it.

        Only a warning where one of them is a default: the operator set just one of the two.
        """
        high = OPTION_OF_PATH[bound.path]
        if not {low.path, high.path} <= self.values.keys():
            return
        value, other_value = self.values[low.path], self.values[high.path]
        if value is None or value <= (other_value / 2 if bound.half else other_value):
            return
        exceed, reach = ("not exceed half of", "be at least twice") if bound.half else ("not exceed", "reach")
        blamed, must, other = (low, exceed, high) if low.path in self._named else (high, reach, low)
        shown, origin = other.show(self.values[other.path]), self.origins[other.path]
        if {low.path, high.path} <= self._named.keys():
            problem = f"{self._named[blamed.path]}: must {must} {other.path}, which is {shown} ({origin})"
            self.problems.append(problem)
        else:
            should = f"should {must} {other.path}, which is {shown} ({origin})"
            self.warnings.append(f"{self._named[blamed.path]}: {should}; the smaller one applies")

    def company(self, option: Option, other: Option) -> None:
        """Check that an option which needs another is not set alone."""
        if self.values.get(option.path) is None or self.values.get(other.path, "wrong") is not None:
            return
        self.problems.append(f"{self._named[option.path]}: needs {other.variable}, which is not set")

    def rivals(self, option: Option, other: Option) -> None:
        """Check that an option is not set beside one that excludes it."""
        if self.values.get(option.path) and self.values.get(other.path):
            self.problems.append(f"{self._named[option.path]}: cannot go with {self._named[other.path]}")

    def key_log(self, environ: Mapping[str, str]) -> None:
        """Check the file that Python writes TLS's keys to: with an unusable one no connection is made."""
        if not (path := environ.get(KEY_LOG)):
            return
        try:
            with Path(path).open("a"):
                pass
        except (OSError, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or exc
            must = f"must be a file that can be written ({reason}), or not set"
            self.problems.append(f"{KEY_LOG}={path!r}: {must}")
            return
        self.run_warnings.append(
            f"{KEY_LOG}={path!r}: who can read that file can read all that goes over TLS, also the API key"
        )

    def certificates(self) -> None:
        """Check that TLS to Redis can be set up with the files that were named."""
        if any(problem.startswith(KEY_LOG) for problem in self.problems):
            return
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
    place = option.kind.place
    if place is None:
        return value
    if reason := unusable(cwd / value, place):
        raise ValueError(f"{wrong} ({reason})")
    # git runs in other folders, where a relative key would be another file.
    return cwd / value if place is Place.FILE else value


def _entries(option: Option, source: Findings) -> list[Found]:
    names = (*option.paths, *option.variables)
    return [source.found[name] for name in names if name in source.found]


def _agreed(option: Option, entries: list[Found]) -> Found | None:
    """What one source says of an option under several of its names (``queue`` beside ``queues``).

    They must not contradict each other; of lists of queues one may say all that the others say.
    """
    if len(entries) < 2:
        return entries[0] if entries else None
    widest, said = entries[0], None
    for entry in entries:
        if entry.problem:
            return entry
        try:
            says = option.kind.statements(option.parse(entry.raw))
        except ValueError:
            return entry
        if said is not None and not (said <= says or says <= said):
            return replace(
                entry, problem=f"contradicts {widest.named}; give one of them, or the same in both"
            )
        if said is None or says > said:
            widest, said = entry, says
    return widest


def _settings(
    values: Mapping[str, Any], origins: Mapping[str, str], secret_files: tuple[Path, ...]
) -> Settings:
    arguments: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for option in OPTIONS:
        arguments[option.section][option.field] = values[option.path]
    arguments["retry"]["max_retry_caps"] = origins["retry.max_retry"] != "default"
    arguments["tasks"]["ttl_completed_is_set"] = origins["tasks.ttl_completed"] != "default"
    arguments["isolation"]["secret_files"] = secret_files
    return Settings(**{section: kind(**arguments[section]) for section, kind in SECTIONS.items()})
