"""What the server promises at registration, checked once and frozen. Pure.

Source: the runqy server's public answer to ``POST /worker/register``. Unknown fields are
ignored, optional ones get the server's documented defaults, and a missing or ill-typed
required one is a :class:`~appliance.errors.RegistrationRejected` that lists every problem.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import field, replace
from enum import StrEnum
from typing import TypeGuard

from appliance.config.settings import RedisSettings
from appliance.errors import RegistrationRejected
from appliance.values import value_class

#: Redis's own port, for an address that names none.
DEFAULT_REDIS_PORT = 6379
#: Priority of a queue that the server gave none.
DEFAULT_PRIORITY = 1
#: Seconds that a time limit may have: a year.
LONGEST_S = 31_622_400
#: Characters of a text, of a command line, of the name of a vault's entry.
LONGEST_TEXT = 4096
LONGEST_COMMAND = 32_768
LONGEST_NAME = 256
#: How far from zero a priority may be, and the number of a Redis database from zero.
LARGEST_PRIORITY = 1_000_000_000
LARGEST_DB = 2**31 - 1
#: Sub-queues that may be listed, and entries of vaults.
MOST_SUB_QUEUES = 10_000
MOST_VAULT_ENTRIES = 1_000
#: Problems that are listed.
MOST_PROBLEMS = 20
#: Characters of a wrong value that are worth showing.
SHOWN_VALUE_LENGTH = 80
#: One of a host's names; no name service is asked for an empty one, or one that is longer.
_LABEL = r"[^\s:/@\[\].]{1,63}"
_ADDRESS = re.compile(
    rf"(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>{_LABEL}(?:\.{_LABEL})*\.?))(?::(?P<port>\d{{1,5}}))?",
    re.ASCII,
)


class Mode(StrEnum):
    """How the task process is run."""

    LONG_RUNNING = "long_running"
    ONE_SHOT = "one_shot"


@value_class
class RedisEndpoint:
    """Where the queue's Redis is, as the server says, and how to reach it, as our settings say."""

    host: str
    port: int
    password: str = field(repr=False)
    db: int
    use_tls: bool
    settings: RedisSettings = field(default_factory=RedisSettings)

    @property
    def address(self) -> str:
        """Host and port, for people."""
        return f"{self.host}:{self.port}"

    @property
    def identity(self) -> str:
        """Which Redis this is, across starts: its place, or its name where Sentinels know the place."""
        place = f"{self.host}:{self.port}"
        return f"{self.settings.sentinel_master if self.settings.sentinels else place}/{self.db}"


@value_class
class SubQueue:
    """One queue to serve: its full name (``inference.high``) and its priority (higher is served first)."""

    name: str
    priority: int


@value_class
class DeploymentSpec:
    """What code to run and how; ``code_path`` is relative to the repository, None for its root."""

    git_url: str
    branch: str
    startup_cmd: str
    code_path: str | None = None
    mode: Mode = Mode.LONG_RUNNING
    startup_timeout_s: float = 60.0
    redis_storage: bool = False
    requirements_file: str = "requirements.txt"


@value_class
class Registration:
    """One parent queue's contract. ``sub_queues`` is never empty and is sorted by falling priority.

    ``oddities`` say what of the server's answer was odd, and how it is understood.
    """

    parent: str
    redis: RedisEndpoint
    sub_queues: tuple[SubQueue, ...]
    deployment: DeploymentSpec
    vaults: Mapping[str, str] = field(repr=False, default_factory=dict)
    git_token: str | None = field(repr=False, default=None)
    oddities: tuple[str, ...] = ()

    def reaching_redis(self, settings: RedisSettings) -> "Registration":
        """The same, with our settings for Redis beside what the server said of it."""
        return replace(self, redis=replace(self.redis, settings=settings))


def parse_registration(parent: str, answer: object) -> Registration:
    """Check the server's decoded JSON ``answer`` about the queue ``parent`` and freeze it.

    Go servers write a field that was never set as ``""``, ``0``, ``[]`` or ``null``: each counts as
    missing, for required fields and for optional ones, whose default it then gets.

    Raises :class:`~appliance.errors.RegistrationRejected` with every problem, one per line; the
    values of secrets are never part of one.
    """
    root = _Section("", answer, [])
    redis, queue, deployment = root.section("redis"), root.section("queue"), root.section("deployment")
    host, port = _address(redis)
    endpoint = RedisEndpoint(
        host=host,
        port=port,
        password=redis.text("password", secret=True),
        db=redis.whole("db", between=(0, LARGEST_DB)),
        use_tls=redis.flag("use_tls"),
    )
    name = queue.text("name", required=True)
    if name and name != parent and not name.startswith(f"{parent}."):
        queue.wrong("name", f"must be the queue asked for, {parent}", name)
    oddities: list[str] = []
    sub_queues = _sub_queues(parent, _priority(queue, DEFAULT_PRIORITY), root, oddities)
    spec = DeploymentSpec(
        git_url=deployment.text("git_url", required=True, secret=True),
        branch=deployment.text("branch", required=True),
        startup_cmd=_startup_cmd(deployment),
        code_path=deployment.text("code_path") or None,
        mode=_mode(deployment),
        startup_timeout_s=deployment.seconds("startup_timeout_secs", 60.0),
        redis_storage=deployment.flag("redis_storage"),
        requirements_file=deployment.text("requirements_file") or "requirements.txt",
    )
    vaults = _vaults(root)
    git_token = root.text("git_token", secret=True) or None
    if root.problems:
        shown, more = root.problems[:MOST_PROBLEMS], len(root.problems) - MOST_PROBLEMS
        lines = "".join(f"\n  {problem}" for problem in [*shown, *([f"and {more} more"] if more > 0 else [])])
        raise RegistrationRejected(f"the server's answer about queue {parent} cannot be used:{lines}")
    return Registration(parent, endpoint, sub_queues, spec, vaults, git_token, tuple(oddities))


class _Section:
    """One JSON object of the answer; its problems go into one list shared by all sections."""

    def __init__(self, path: str, value: object, problems: list[str]) -> None:
        self._path = path
        self.problems = problems
        self._fields: Mapping[str, object] = {}
        if isinstance(value, dict):
            self._fields = value
        elif value is not None or not path:
            problems.append(f"{path or 'the answer'}: must be an object, is {_shown(value)}")

    def section(self, key: str) -> "_Section":
        return _Section(self._at(key), self._fields.get(key), self.problems)

    def get(self, key: str) -> object:
        return self._fields.get(key)

    def text(
        self, key: str, *, required: bool = False, secret: bool = False, longest: int = LONGEST_TEXT
    ) -> str:
        value = self.get(key)
        if value is None or value == "":
            if required:
                self.problems.append(f"{self._at(key)}: is missing")
            return ""
        if not isinstance(value, str):
            self.wrong(key, "must be a string", value, secret=secret)
        elif len(value) > longest:
            self.problems.append(f"{self._at(key)}: must have at most {longest} characters, has {len(value)}")
        elif not _is_clean(value) or (required and not value.strip()):
            self.wrong(key, "must be visible text", value, secret=secret)
        else:
            return value
        return ""

    def whole(self, key: str, default: int = 0, *, between: tuple[int, int]) -> int:
        value = self.get(key)
        if value is None:
            return default
        least, most = between
        if not _is_whole(value) or not least <= value <= most:
            self.wrong(key, f"must be a whole number from {least} to {most}", value)
            return default
        return value

    def seconds(self, key: str, default: float) -> float:
        value = self.get(key)
        if value is None or (_is_number(value) and value == 0):
            return default
        if not _is_number(value) or not 0 < value <= LONGEST_S:
            self.wrong(key, f"must be a positive number of seconds, at most {LONGEST_S}", value)
            return default
        return float(value)

    def flag(self, key: str) -> bool:
        value = self.get(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        self.wrong(key, "must be true or false", value)
        return False

    def wrong(self, key: str, rule: str, value: object, *, secret: bool = False) -> None:
        shown = f"a {type(value).__name__}" if secret else _shown(value)
        self.problems.append(f"{self._at(key)}: {rule}, is {shown}")

    def _at(self, key: str) -> str:
        # The name of a vault's entry can be anything.
        shown = key if key.isprintable() and len(key) <= LONGEST_NAME else _shown(key)
        return f"{self._path}.{shown}" if self._path else shown


def _address(redis: _Section) -> tuple[str, int]:
    """``host``, ``host:port``, ``[v6]`` or ``[v6]:port``."""
    addr = redis.text("addr", required=True)
    if not addr:
        return "", 0
    found = _ADDRESS.fullmatch(addr)
    port = int(found["port"] or DEFAULT_REDIS_PORT) if found else 0
    if found is None or not 1 <= port <= 65535:
        # What stands before an @ would be a password.
        redis.wrong("addr", "must be host, host:port or [IPv6]:port", addr.rpartition("@")[2])
        return "", 0
    return found["v6"] or found["host"], port


def _sub_queues(parent: str, priority: int, root: _Section, oddities: list[str]) -> tuple[SubQueue, ...]:
    listed = root.get("sub_queues") or []
    if not isinstance(listed, list):
        root.wrong("sub_queues", "must be a list", listed)
        listed = []
    if len(listed) > MOST_SUB_QUEUES:
        root.problems.append(f"sub_queues: must be at most {MOST_SUB_QUEUES}, are {len(listed)}")
        listed = []
    found: dict[str, SubQueue] = {}
    for index, item in enumerate(listed):
        section = _Section(f"sub_queues[{index}]", item if item is not None else "null", root.problems)
        name = section.text("name", required=isinstance(item, dict))
        if not name:
            continue
        if not name.startswith(f"{parent}.") or name == f"{parent}.":
            section.wrong("name", f"must begin with {parent}. and go on", name)
        sub_queue = SubQueue(name, _priority(section, priority))
        if before := found.get(name):
            # Not refused: it is clear enough what is meant, and the worker would serve no queue at all.
            sub_queue = max(before, sub_queue, key=lambda one: one.priority)
            oddities.append(
                f"{name} is listed more than once; its highest priority, {sub_queue.priority}, counts"
            )
        found[name] = sub_queue
    chosen = found.values() or [SubQueue(f"{parent}.default", priority)]
    return tuple(sorted(chosen, key=lambda sub_queue: (-sub_queue.priority, sub_queue.name)))


def _priority(section: _Section, default: int) -> int:
    return section.whole("priority", default, between=(-LARGEST_PRIORITY, LARGEST_PRIORITY))


def _startup_cmd(deployment: _Section) -> str:
    command = deployment.text("startup_cmd", required=True, longest=LONGEST_COMMAND)
    try:
        empty = bool(command) and not shlex.split(command)
    except ValueError as exc:
        # What stands in it may be a secret.
        rule = f"must be words as a shell splits them ({exc})"
        deployment.wrong("startup_cmd", rule, command, secret=True)
    else:
        if empty:
            deployment.wrong("startup_cmd", "must name a program", command)
    return command


def _mode(deployment: _Section) -> Mode:
    text = deployment.text("mode") or Mode.LONG_RUNNING.value
    try:
        return Mode(text)
    except ValueError:
        deployment.wrong("mode", f"must be {' or '.join(Mode)}", text)
        return Mode.LONG_RUNNING


def _vaults(root: _Section) -> dict[str, str]:
    value = root.get("vaults") or {}
    if not isinstance(value, dict):
        root.wrong("vaults", "must be an object of strings", value, secret=True)
        return {}
    if len(value) > MOST_VAULT_ENTRIES:
        root.problems.append(f"vaults: must have at most {MOST_VAULT_ENTRIES} entries, have {len(value)}")
        return {}
    entries = _Section("vaults", value, root.problems)
    for key, entry in value.items():
        if not isinstance(entry, str):
            entries.wrong(key, "must be a string", entry, secret=True)
        elif not _is_clean(entry):
            entries.wrong(key, "must be visible text", entry, secret=True)
        elif len(key) > LONGEST_NAME:
            entries.problems.append(
                f"vaults.{_shown(key)}: a name must have at most {LONGEST_NAME} characters, has {len(key)}"
            )
    return {key: entry for key, entry in value.items() if isinstance(entry, str)}


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_clean(text: str) -> bool:
    """No program takes a zero byte; half a surrogate pair, which JSON can spell, has no bytes at all."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _shown(value: object) -> str:
    """A wrong value, by its kind alone where it is a container: those can hold secrets."""
    if isinstance(value, dict | list):
        return f"a {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= SHOWN_VALUE_LENGTH else f"{text[:SHOWN_VALUE_LENGTH]}…"
