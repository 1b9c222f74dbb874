"""The effective settings: read once, never changed, handed on section by section. Pure.

Every duration is a float of seconds and says so in its name; 0 means "off" or "at once" where
the option's documentation says so.
"""

from dataclasses import field
from pathlib import Path

from appliance.values import value_class


@value_class
class ServerSettings:
    """The runqy server.

    ``previous_api_key`` is the one before ``api_key``: what was kept on disk under it is still believed.
    """

    url: str
    api_key: str = field(repr=False)
    previous_api_key: str | None = field(default=None, repr=False)


@value_class
class RedisSettings:
    """How Redis is reached; where it is, its password and whether it takes TLS come from the server.

    ``ca_file`` None trusts the system's CAs. ``key_file`` None takes the key from ``cert_file``. With
    ``sentinels`` (``host:port``) these say where Redis is, by the name ``sentinel_master``; without
    a ``sentinel_password`` they get that of Redis where they ask for one. With ``cluster``
    what the server names is one node of a Redis Cluster, which names the others. ``ask_server_after_s`` is
    how long Redis does not answer before the server is asked where it is now.
    """

    username: str | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    sentinels: tuple[str, ...] | None = None
    sentinel_master: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    cluster: bool = False
    ask_server_after_s: float = field(default=30.0, compare=False)

    @property
    def certified(self) -> bool:
        """Whether something here only makes sense with TLS."""
        return self.ca_file is not None or self.cert_file is not None


@value_class
class WorkerSettings:
    """This worker. ``queues`` holds parents (``inference``) or sub-queues (``inference.high``).

    ``queue_strategy`` says what the priorities of sub-queues mean: ``strict`` or ``weighted``.
    ``stop_grace_s`` is how long after SIGTERM the orchestrator kills the worker, None if unknown.
    ``lease_extend_interval_s`` None leaves it to :attr:`lease_extension_s`.
    ``state_dir`` None keeps nothing on disk.
    """

    queues: tuple[str, ...]
    queue_strategy: str = "strict"
    concurrency: int = 1
    shutdown_timeout_s: float = 30.0
    stop_grace_s: float | None = None
    lease_duration_s: float = 30.0
    lease_extend_interval_s: float | None = None
    instance_id: str | None = None
    state_dir: Path | None = None

    @property
    def lease_extension_s(self) -> float:
        """Seconds between extensions of a lease: three per lease, so that two may fail, or as was set.

        Never more than half a lease: a single late extension would lose the task.
        """
        wanted_s = self.lease_extend_interval_s or self.lease_duration_s / 3
        return min(wanted_s, self.lease_duration_s / 2)


@value_class
class DeploymentSettings:
    """Where task code lives and what its environment inherits.

    ``baked`` is where it is when it came with the image; ``{parent}`` in it stands for the queue.
    ``installer`` is ``auto`` or ``pip``.
    """

    dir: Path = Path("./deployment")
    baked: Path | None = None
    use_system_site_packages: bool = True
    installer: str = "auto"


@value_class
class RecoverySettings:
    """Restart of a crashed task process.

    ``degraded_policy`` is what becomes of intake when restarts are used up: ``requeue`` (now and then take a
    task and return it for retry), ``hold`` (take nothing) or ``exit`` (end the worker).
    """

    enabled: bool = True
    max_restarts: int = 5
    initial_delay_s: float = 1.0
    max_delay_s: float = 300.0
    backoff_factor: float = 2.0
    cooldown_period_s: float = 600.0
    degraded_policy: str = "requeue"


@value_class
class ProcessSettings:
    """The task process: how long it may take to end, and what it is replaced after (0: never)."""

    stop_grace_s: float = 5.0
    max_tasks: int = 0
    max_memory_bytes: int = 0


@value_class
class IsolationSettings:
    """What task code is kept from.

    ``level`` is auto|strict|require|off. ``task_paths`` are opened to it besides what the level opens.
    ``secret_files`` are those that settings were read from: the configuration file, and each that a ``_FILE``
    variable names.
    """

    level: str = "auto"
    task_paths: tuple[Path, ...] | None = None
    secret_files: tuple[Path, ...] = ()


@value_class
class VaultSettings:
    """Vault entries in the task process's environment."""

    allow_unsafe: bool = False


@value_class
class BootstrapSettings:
    """Attempts at registering and deploying: ``retries`` more after the first, ``retry_delay_s`` apart."""

    retries: int = 3
    retry_delay_s: float = 5.0


@value_class
class GitSettings:
    """Credentials for private repositories; the server's own token wins over ``token``.

    ``token_hosts`` (``host`` or ``host:port``) are where ``token`` is sent; None is every https host.
    """

    ssh_key: Path | None = None
    token: str | None = field(repr=False, default=None)
    token_hosts: tuple[str, ...] | None = None


@value_class
class RetrySettings:
    """Retries of failed tasks.

    ``max_retry`` serves legacy tasks that carry no count; it caps a message's own count only
    when it was set (``max_retry_caps``). Delay of the n-th retry: ``min(n⁴ · base, max)``.
    ``policy`` is ``flag`` (an answer's own ``retry`` flag rules) or ``always`` (every failure is
    retried while retries are left).
    """

    max_retry: int = 3
    max_retry_caps: bool = False
    base_delay_s: float = 10.0
    max_delay_s: float = 86_400.0
    policy: str = "flag"


@value_class
class TaskSettings:
    """Lifetimes and limits of tasks whose hash carries no such stamp; 0 is never / off.

    ``ttl_completed_is_set`` is whether the operator gave ``ttl_completed_s``: only then does it win over a
    message's own retention. ``max_payload_bytes`` and ``max_result_bytes`` are what a task's message and its
    answer may have.
    """

    ttl_completed_s: float = 86_400.0
    ttl_completed_is_set: bool = False
    ttl_archived_s: float = 259_200.0
    pending_timeout_s: float = 0.0
    active_timeout_s: float = 0.0
    max_payload_bytes: int = 512 * 1024**2
    max_result_bytes: int = 64 * 1024**2


@value_class
class HttpSettings:
    """Where health, metrics and the status page are served (``host:port``); None is nowhere."""

    addr: str | None = None


@value_class
class LogSettings:
    """What is logged to stderr: ``level`` debug|info|warning|error, ``format`` text|json."""

    level: str = "info"
    format: str = "text"


@value_class
class TelemetrySettings:
    """Where traces, metrics and errors are sent to, beside the log and ``/metrics``."""

    otlp_endpoint: str | None = None
    otlp_headers: str | None = field(default=None, repr=False)
    otlp_interval_s: float = 60.0
    sentry_dsn: str | None = field(default=None, repr=False)


@value_class
class Settings:
    """Everything, by section of the file."""

    server: ServerSettings
    worker: WorkerSettings
    redis: RedisSettings = RedisSettings()
    deployment: DeploymentSettings = DeploymentSettings()
    recovery: RecoverySettings = RecoverySettings()
    process: ProcessSettings = ProcessSettings()
    isolation: IsolationSettings = IsolationSettings()
    vaults: VaultSettings = VaultSettings()
    bootstrap: BootstrapSettings = BootstrapSettings()
    git: GitSettings = GitSettings()
    retry: RetrySettings = RetrySettings()
    tasks: TaskSettings = TaskSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
