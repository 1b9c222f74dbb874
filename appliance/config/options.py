"""Every option, once: parsing, hints, ``--help``, ``config`` and the reference derive from this table.

An option's default is the one of its field in :mod:`appliance.config.settings`; a field without a
default makes the option required. The specification's names, bounds and meanings are kept.
"""

from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

from appliance.config.kinds import (
    MASK,
    Addresses,
    Boolean,
    Choice,
    Duration,
    FilePath,
    Integer,
    Kind,
    ListenAddress,
    Number,
    QueueFolder,
    QueueNames,
    ServerUrl,
    Size,
    Word,
    quoted,
    without_credentials,
)
from appliance.config.settings import Settings

#: What a source gives: text, or a list of texts where the file has a list.
Raw = str | tuple[str, ...]

#: The settings' classes by section of the file.
SECTIONS: dict[str, Any] = {section.name: section.type for section in fields(Settings)}


class Origin(StrEnum):
    """Whose idea a setting is."""

    SPECIFICATION = "specification"
    #: The specification has no variable for it, only a key.
    SPECIFIED_KEY = "specification (the variable: ours)"
    #: The specification has no key for it, only a variable.
    SPECIFIED_VARIABLE = "specification (the key: ours)"
    OURS = "ours"


@dataclass(frozen=True)
class Option:
    """One setting.

    ``path`` is its place in the file (``section.key``), ``aliases`` other places that mean the
    same; ``from_file`` adds a variable ``<variable>_FILE`` that names a file whose content is the
    value; ``at_most`` is the path of an option whose value this one's must not exceed, ``needs`` of one
    without which this one means nothing, ``without`` of one that must not be set where this one is true;
    ``origin`` says whose idea it is.
    """

    path: str
    variable: str
    kind: Kind
    doc: str
    secret: bool = False
    from_file: bool = False
    aliases: tuple[str, ...] = ()
    at_most: str = ""
    needs: str = ""
    without: str = ""
    origin: Origin = Origin.OURS

    @property
    def section(self) -> str:
        """The section of the file, which is also the field of ``Settings``."""
        return self.path.partition(".")[0]

    @property
    def field(self) -> str:
        """The field of the section's settings; durations and sizes carry their unit there."""
        key = self.path.partition(".")[2]
        suffix = {Duration: "_s", Size: "_bytes"}.get(type(self.kind), "")
        return f"{key}{suffix}"

    @property
    def default(self) -> Any:
        """The value that applies where no source gives one; None also where it is required."""
        default = self._field_default()
        return None if default is MISSING else default

    @property
    def required(self) -> bool:
        """Whether the worker cannot start without it."""
        return self._field_default() is MISSING

    @property
    def file_variable(self) -> str | None:
        """The variable naming a file that holds the value, for options that have one."""
        return f"{self.variable}_FILE" if self.from_file else None

    def parse(self, raw: Raw) -> Any:
        """Return the value of ``raw``; raises ValueError, its text what is wrong beside ``kind.allowed``."""
        if isinstance(raw, str):
            return self.kind.parse(raw)
        if isinstance(self.kind, QueueNames):
            return self.kind.parse_items(raw)
        raise ValueError("it is a list")

    def show(self, value: Any) -> str:
        """Return a parsed value for people: as they would write it, masked where secret."""
        if value is None:
            return "not set"
        return MASK if self.secret else self.kind.show(value)

    def show_raw(self, raw: Raw) -> str:
        """Return what a source gave, for a problem line: quoted, masked where secret."""
        if self.secret:
            return MASK
        if not isinstance(raw, str):
            return "[" + ", ".join(map(quoted, raw)) + "]"
        return quoted(without_credentials(raw) if isinstance(self.kind, ServerUrl) else raw)

    def _field_default(self) -> Any:
        return next(field.default for field in fields(SECTIONS[self.section]) if field.name == self.field)


OPTIONS: tuple[Option, ...] = (
    Option(
        "server.url",
        "RUNQY_SERVER_URL",
        ServerUrl(),
        "The runqy server to register with, such as http://localhost:8081.",
        origin=Origin.SPECIFICATION,
    ),
    Option(
        "server.api_key",
        "RUNQY_API_KEY",
        Word(8192, ascii_only=True),
        "The key the server knows this worker by.",
        secret=True,
        from_file=True,
        origin=Origin.SPECIFICATION,
    ),
    Option(
        "worker.queues",
        "RUNQY_QUEUES",
        QueueNames(),
        "The queues to serve, comma-separated: a parent (inference) means all its sub-queues, "
        "a sub-queue (inference.high) only itself. The file takes a list too.",
        aliases=("worker.queue",),
        origin=Origin.SPECIFICATION,
    ),
    Option(
        "worker.queue_strategy",
        "RUNQY_QUEUE_STRATEGY",
        Choice(("strict", "weighted")),
        "What sub-queues' priorities mean: the higher one always goes first and equals take turns (strict), "
        "or each gets as many tasks as its priority says (weighted).",
    ),
    Option(
        "worker.concurrency",
        "RUNQY_CONCURRENCY",
        Integer(1, 10_000, "tasks"),
        "How many tasks are worked on at a time.",
        origin=Origin.SPECIFICATION,
    ),
    Option(
        "worker.shutdown_timeout",
        "RUNQY_SHUTDOWN_TIMEOUT",
        Duration("1ms", "24h", zero="at once"),
        "How long running tasks may go on after SIGTERM or SIGINT before they are given back.",
        origin=Origin.SPECIFICATION,
    ),
    Option(
        "worker.stop_grace",
        "RUNQY_STOP_GRACE",
        Duration("1s", "24h"),
        "How long after SIGTERM whoever runs the worker kills it (docker run --stop-timeout, "
        "terminationGracePeriodSeconds); too short for the times above and below is warned of at start.",
    ),
    Option(
        "worker.lease_duration",
        "RUNQY_LEASE_DURATION",
        Duration("2s", "1h"),
        "How long a task stays ours without a sign of life; others recover it after that.",
    ),
    Option(
        "worker.instance_id",
        "RUNQY_INSTANCE_ID",
        Word(255),
        "This machine's name to the server's autoscaler.",
    ),
    Option(
        "worker.state_dir",
        "RUNQY_STATE_DIR",
        FilePath("a folder that is writable or can be made", folder=True),
        "Where outcomes that Redis does not take are kept, so that they survive the worker's death; if not "
        "set, in memory only. Workers of one machine may share it.",
    ),
    Option(
        "redis.username",
        "RUNQY_REDIS_USERNAME",
        Word(255),
        "The ACL user to log in to Redis as; the password is the one the server sends.",
    ),
    Option(
        "redis.ca_file",
        "RUNQY_REDIS_CA_FILE",
        FilePath("a readable PEM file of CA certificates", folder=False),
        "Which CAs may vouch for Redis, where the server asks for TLS; if not set, those of the system.",
    ),
    Option(
        "redis.cert_file",
        "RUNQY_REDIS_CERT_FILE",
        FilePath("a readable PEM file with a certificate", folder=False),
        "The certificate to show to a Redis that asks for one; its key too, where there is no key file.",
    ),
    Option(
        "redis.key_file",
        "RUNQY_REDIS_KEY_FILE",
        FilePath("a readable PEM file with the private key of the certificate", folder=False),
        "The key of that certificate, without a passphrase.",
        needs="redis.cert_file",
    ),
    Option(
        "redis.sentinels",
        "RUNQY_REDIS_SENTINELS",
        Addresses(26_379),
        "Redis Sentinels, comma-separated, to be asked where Redis is; what the server says of that is "
        "then not used. One that wants a password gets that of Redis, unless it has one of its own.",
        needs="redis.sentinel_master",
    ),
    Option(
        "redis.sentinel_master",
        "RUNQY_REDIS_SENTINEL_MASTER",
        Word(255),
        "The name by which the Sentinels know this Redis.",
        needs="redis.sentinels",
    ),
    Option(
        "redis.sentinel_username",
        "RUNQY_REDIS_SENTINEL_USERNAME",
        Word(255),
        "The ACL user to log in to the Sentinels as.",
        needs="redis.sentinel_password",
    ),
    Option(
        "redis.sentinel_password",
        "RUNQY_REDIS_SENTINEL_PASSWORD",
        Word(8192),
        "The password of the Sentinels, where it is another than that of Redis.",
        secret=True,
        from_file=True,
        needs="redis.sentinels",
    ),
    Option(
        "redis.cluster",
        "RUNQY_REDIS_CLUSTER",
        Boolean(),
        "Whether Redis is a Redis Cluster; the address the server sends is then that of any of its nodes.",
        without="redis.sentinels",
    ),
    Option(
        "deployment.dir",
        "RUNQY_DEPLOYMENT_DIR",
        FilePath("a folder that is writable or can be made", folder=True),
        "Where task code is cloned to, one folder a parent queue.",
        origin=Origin.SPECIFICATION,
    ),
    Option(
        "deployment.baked",
        "RUNQY_DEPLOYMENT_BAKED",
        QueueFolder(),
        "Where the image has task code and what it needs: nothing is cloned or installed then. All parent "
        "queues share that folder unless {parent} in it tells them apart.",
    ),
    Option(
        "deployment.use_system_site_packages",
        "RUNQY_USE_SYSTEM_SITE_PACKAGES",
        Boolean(),
        "Whether task code sees the packages of the base Python.",
        origin=Origin.SPECIFICATION,
    ),
    Option(
        "recovery.enabled",
        "RUNQY_RECOVERY_ENABLED",
        Boolean(),
        "Whether a crashed task process is started again; if not, the first crash degrades the worker.",
        origin=Origin.SPECIFICATION,
    ),
    Option(
        "recovery.max_restarts",
        "RUNQY_RECOVERY_MAX_RESTARTS",
        Integer(0, 1_000_000, "restarts"),
        "Restarts in a row before the worker is degraded.",
        origin=Origin.SPECIFICATION,
    ),
    Option(
        "recovery.initial_delay",
        "RUNQY_RECOVERY_INITIAL_DELAY",
        Duration("1ms", "24h", zero="at once"),
        "The wait before the first restart.",
        at_most="recovery.max_delay",
        origin=Origin.SPECIFICATION,
    ),
    Option(
        "recovery.max_delay",
        "RUNQY_RECOVERY_MAX_DELAY",
        Duration("1ms", "24h", zero="at once"),
        "The longest wait before a restart.",
        origin=Origin.SPECIFICATION,
    ),
    Option(
        "recovery.backoff_factor",
        "RUNQY_RECOVERY_BACKOFF_FACTOR",
        Number(1, 100, "factor"),
        "What the wait is multiplied by from one restart to the next.",
        origin=Origin.SPECIFIED_KEY,
    ),
    Option(
        "recovery.cooldown_period",
        "RUNQY_RECOVERY_COOLDOWN",
        Duration("1ms", "720h"),
        "How long the process must run for its crashes to be forgotten.",
        origin=Origin.SPECIFICATION,
    ),
    Option(
        "recovery.degraded_policy",
        "RUNQY_DEGRADED_POLICY",
        Choice(("requeue", "hold", "exit")),
        "What a degraded worker does: now and then take a task and return it for retry (requeue), take "
        "nothing (hold), or end with status 6 once all its queues are degraded (exit).",
    ),
    Option(
        "process.stop_grace",
        "RUNQY_PROCESS_STOP_GRACE",
        Duration("1ms", "1h", zero="at once"),
        "How long a task process that is asked to end may take before it is killed.",
    ),
    Option(
        "process.max_tasks",
        "RUNQY_MAX_TASKS_PER_CHILD",
        Integer(0, 1_000_000_000, "tasks"),
        "After how many tasks a long-running process is replaced by a fresh one; 0 is never.",
    ),
    Option(
        "process.max_memory",
        "RUNQY_MAX_CHILD_MEMORY",
        Size(zero="off"),
        "Above how much resident memory, its children's included, a long-running process is replaced "
        "between tasks.",
    ),
    Option(
        "vaults.allow_unsafe",
        "RUNQY_VAULT_ALLOW_UNSAFE",
        Boolean(),
        "Whether vault entries may set variables that decide how the process runs: PATH, LD_PRELOAD …",
    ),
    Option(
        "bootstrap.retries",
        "RUNQY_BOOTSTRAP_RETRIES",
        Integer(0, 10_000, "attempts"),
        "Further attempts at registering and deploying when the first fails for a reason that can pass.",
        origin=Origin.SPECIFIED_VARIABLE,
    ),
    Option(
        "bootstrap.retry_delay",
        "RUNQY_BOOTSTRAP_RETRY_DELAY",
        Duration("1ms", "1h", zero="at once"),
        "The wait between those attempts.",
        origin=Origin.SPECIFIED_VARIABLE,
    ),
    Option(
        "git.ssh_key",
        "RUNQY_GIT_SSH_KEY",
        FilePath("a readable file", folder=False),
        "The private key file for cloning over SSH.",
        origin=Origin.SPECIFIED_VARIABLE,
    ),
    Option(
        "git.token",
        "RUNQY_GIT_TOKEN",
        Word(8192, ascii_only=True),
        "The token for cloning over HTTPS; one the server sends wins.",
        secret=True,
        from_file=True,
        origin=Origin.SPECIFIED_VARIABLE,
    ),
    Option(
        "retry.max_retry",
        "RUNQY_MAX_RETRY",
        Integer(0, 10_000, "retries"),
        "Retries of a failed task that carries no count of its own; when set, also caps those that do.",
        origin=Origin.SPECIFIED_VARIABLE,
    ),
    Option(
        "retry.base_delay",
        "RUNQY_RETRY_BASE_DELAY",
        Duration("1ms", "720h", zero="at once"),
        "The wait before a task's first retry; the n-th waits n*n*n*n times as long.",
        at_most="retry.max_delay",
    ),
    Option(
        "retry.max_delay",
        "RUNQY_RETRY_MAX_DELAY",
        Duration("1ms", "720h", zero="at once"),
        "The longest wait before a retry.",
    ),
    Option(
        "retry.policy",
        "RUNQY_RETRY_POLICY",
        Choice(("flag", "always")),
        "Which failures are retried: those whose answer says retry (flag), or all (always).",
    ),
    # The stamps these stand in for are whole seconds in Redis, where a fraction would turn into 0, "never".
    Option(
        "tasks.ttl_completed",
        "RUNQY_TTL_COMPLETED",
        Duration("1s", "87600h", zero="kept for ever"),
        "How long a completed task and its result are kept, where the task does not say.",
    ),
    Option(
        "tasks.ttl_archived",
        "RUNQY_TTL_ARCHIVED",
        Duration("1s", "87600h", zero="kept for ever"),
        "How long a finally failed task is kept, where the task does not say.",
    ),
    Option(
        "tasks.pending_timeout",
        "RUNQY_PENDING_TIMEOUT",
        Duration("1s", "87600h", zero="off"),
        "How long a task may wait to be taken, where the task does not say.",
    ),
    Option(
        "tasks.active_timeout",
        "RUNQY_ACTIVE_TIMEOUT",
        Duration("1s", "87600h", zero="off"),
        "How long a task may run, where the task does not say.",
    ),
    Option(
        "http.addr",
        "RUNQY_HTTP_ADDR",
        ListenAddress(),
        "Where to serve health, metrics and the status page; if not set, nowhere.",
    ),
    Option(
        "log.level",
        "RUNQY_LOG_LEVEL",
        Choice(("debug", "info", "warning", "error")),
        "The least level that is logged to stderr.",
    ),
    Option(
        "log.format",
        "RUNQY_LOG_FORMAT",
        Choice(("text", "json")),
        "How log lines are written: for people (text) or one JSON object a line.",
    ),
)

#: Where the file may name which option.
OPTION_OF_PATH: dict[str, Option] = {
    path: option for option in OPTIONS for path in (option.path, *option.aliases)
}

#: Every variable that means something.
VARIABLES: tuple[str, ...] = tuple(
    variable for option in OPTIONS for variable in (option.variable, option.file_variable) if variable
)


def missing(option: Option) -> str:
    """Return the problem line of a required option that no source gives."""
    either = f" or {option.file_variable}" if option.file_variable else ""
    return (
        f"{option.variable}: is required and not set: set it{either}, or {option.path} in the file; "
        f"it must be {option.kind.allowed}"
    )


def did_you_mean(name: str, known: tuple[str, ...]) -> str:
    """Return a hint at the known name nearest to ``name``, empty where none is near."""
    leaf = name.rpartition(".")[2]
    near = [candidate for candidate in known if candidate.rpartition(".")[2] == leaf]
    near = near or get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
