"""Every option, once: parsing, hints, ``--help``, ``config`` and the reference derive from this table. Pure.

An option's default is the one of its field in :mod:`appliance.config.settings`; a field without a
default makes the option required. The specification's names, bounds and meanings are kept.
"""

from difflib import get_close_matches

from appliance.config.kinds.places import (
    Addresses,
    FilePath,
    Folders,
    Hosts,
    ListenAddress,
    QueueFolder,
    ServerUrl,
)
from appliance.config.kinds.quantities import Duration, Integer, Number, Size
from appliance.config.kinds.words import Boolean, Choice, QueueNames, Word
from appliance.config.option import Bound, Option, Origin
from appliance.config.settings import Settings

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
        "server.previous_api_key",
        "RUNQY_PREVIOUS_API_KEY",
        Word(8192, ascii_only=True),
        "The key before that one: outcomes that workers with it left in the state folder are delivered, too.",
        secret=True,
        from_file=True,
    ),
    Option(
        "worker.queues",
        "RUNQY_QUEUES",
        QueueNames(),
        "The queues to serve, comma-separated: a parent (inference) means all its sub-queues, "
        "a sub-queue (inference.high) only itself. The file takes a list too.",
        aliases=("worker.queue",),
        go_names=("RUNQY_QUEUE",),
        origin=Origin.SPECIFICATION,
    ),
    Option(
        "worker.queue_strategy",
        "RUNQY_QUEUE_STRATEGY",
        Choice(("strict", "weighted")),
        "What priorities of sub-queues mean. strict: the higher priority is served first, equal ones take "
        "turns. weighted: each sub-queue is served in proportion to its priority. Either counts when a task "
        "is taken from its queue; that is up to two round trips and 0.1 s before it runs.",
    ),
    Option(
        "worker.concurrency",
        "RUNQY_CONCURRENCY",
        Integer(1, 10_000, "tasks"),
        "How many tasks of a parent queue run at the same time.",
        origin=Origin.SPECIFICATION,
    ),
    Option(
        "worker.shutdown_timeout",
        "RUNQY_SHUTDOWN_TIMEOUT",
        Duration("1ms", "24h", zero="at once"),
        "How long running tasks may go on after SIGTERM or SIGINT before they are returned to the queue.",
        origin=Origin.SPECIFICATION,
    ),
    Option(
        "worker.stop_grace",
        "RUNQY_STOP_GRACE",
        Duration("1s", "24h"),
        "How long after SIGTERM the orchestrator kills the worker (docker run --stop-timeout, "
        "terminationGracePeriodSeconds); a worker that may need longer to stop warns at its start.",
    ),
    Option(
        "worker.lease_duration",
        "RUNQY_LEASE_DURATION",
        Duration("2s", "1h"),
        "How long a task stays with a worker that is silent; another worker recovers it after that.",
    ),
    Option(
        "worker.lease_extend_interval",
        "RUNQY_LEASE_EXTEND_INTERVAL",
        Duration("100ms", "30m"),
        "How often the leases of running tasks are extended; if not set, three times per lease.",
        at_most=Bound("worker.lease_duration", half=True),
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
        "Where outcomes that Redis has not accepted are kept, so that they survive a crash of the worker; if "
        "not set, in memory only. Workers of one machine may share it.",
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
        "then not used. One that wants a password gets that of Redis unless another is set.",
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
        "redis.ask_server_after",
        "RUNQY_REDIS_ASK_SERVER_AFTER",
        Duration("1s", "24h"),
        "How long Redis has to be unavailable before the server is asked again where it is; where it does "
        "not accept the password, the server is asked at once.",
    ),
    Option(
        "deployment.dir",
        "RUNQY_DEPLOYMENT_DIR",
        FilePath(
            "a folder that is writable or can be made, without a colon", folder=True, holds_programs=True
        ),
        "Where task code is cloned to, one folder per parent queue.",
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
        "deployment.installer",
        "RUNQY_INSTALLER",
        Choice(("auto", "pip")),
        "What installs packages: auto is uv where it is there and the packages of the base Python are not "
        "seen, else pip. Poetry's own projects are installed by Poetry, where that is there.",
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
        "Consecutive restarts before the worker is degraded.",
        origin=Origin.SPECIFICATION,
    ),
    Option(
        "recovery.initial_delay",
        "RUNQY_RECOVERY_INITIAL_DELAY",
        Duration("1ms", "24h", zero="at once"),
        "The time before the first restart.",
        at_most=Bound("recovery.max_delay"),
        origin=Origin.SPECIFICATION,
    ),
    Option(
        "recovery.max_delay",
        "RUNQY_RECOVERY_MAX_DELAY",
        Duration("1ms", "24h", zero="at once"),
        "The longest time before a restart.",
        origin=Origin.SPECIFICATION,
    ),
    Option(
        "recovery.backoff_factor",
        "RUNQY_RECOVERY_BACKOFF_FACTOR",
        Number(1, 100, "factor"),
        "What that time is multiplied by from one restart to the next.",
        origin=Origin.SPECIFIED_KEY,
    ),
    Option(
        "recovery.cooldown_period",
        "RUNQY_RECOVERY_COOLDOWN",
        Duration("1ms", "720h"),
        "How long the task process must run for its earlier crashes to be forgotten.",
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
        "After how many tasks a long-running task process is replaced by a new one; 0 is never.",
    ),
    Option(
        "process.max_memory",
        "RUNQY_MAX_CHILD_MEMORY",
        Size(zero="off"),
        "Above how much resident memory, its children included, a long-running task process is replaced "
        "between tasks.",
    ),
    Option(
        "isolation.level",
        "RUNQY_ISOLATION",
        Choice(("auto", "strict", "require", "off")),
        "What task code is kept from, where the kernel can. auto: the worker's own files and processes. "
        "require: as auto, but end with status 8 where a protection is missing. strict: everything but its "
        "code, the system's programs and libraries, devices, HOME and its caches. off: nothing.",
    ),
    Option(
        "isolation.task_paths",
        "RUNQY_TASK_PATHS",
        Folders(),
        "Paths that are open to task code as well, comma-separated; they must exist when its process starts.",
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
        "Further attempts to register and to deploy when the first fails for a reason that can pass.",
        origin=Origin.SPECIFIED_VARIABLE,
    ),
    Option(
        "bootstrap.retry_delay",
        "RUNQY_BOOTSTRAP_RETRY_DELAY",
        Duration("1ms", "1h", zero="at once"),
        "The time between those attempts.",
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
        "git.token_hosts",
        "RUNQY_GIT_TOKEN_HOSTS",
        Hosts(),
        "The hosts that are sent this token, comma-separated; if not set, every host with an https URL. A "
        "host that is reached by http gets it only where it is named here.",
    ),
    Option(
        "retry.max_retry",
        "RUNQY_MAX_RETRY",
        Integer(0, 10_000, "retries"),
        "Retries of a failed task that carries no count; when set, also caps the count that a task carries.",
        origin=Origin.SPECIFIED_VARIABLE,
    ),
    Option(
        "retry.base_delay",
        "RUNQY_RETRY_BASE_DELAY",
        Duration("1ms", "720h", zero="at once"),
        "The time before a task's first retry; the n-th retry waits n*n*n*n times as long.",
        at_most=Bound("retry.max_delay"),
    ),
    Option(
        "retry.max_delay",
        "RUNQY_RETRY_MAX_DELAY",
        Duration("1ms", "720h", zero="at once"),
        "The longest time before a retry.",
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
        "How long a completed task and its result are kept, unless the task says otherwise.",
        go_names=("worker.ttl_completed", "worker.completed_task_ttl", "RUNQY_COMPLETED_TASK_TTL"),
    ),
    Option(
        "tasks.ttl_archived",
        "RUNQY_TTL_ARCHIVED",
        Duration("1s", "87600h", zero="kept for ever"),
        "How long an archived task (one that failed for good) is kept, unless the task says otherwise.",
        go_names=("worker.ttl_archived",),
    ),
    Option(
        "tasks.pending_timeout",
        "RUNQY_PENDING_TIMEOUT",
        Duration("1s", "87600h", zero="off"),
        "Longest wait in the queue per task, unless the task says otherwise; after it the task is archived.",
        go_names=("worker.pending_timeout",),
    ),
    Option(
        "tasks.active_timeout",
        "RUNQY_ACTIVE_TIMEOUT",
        Duration("1s", "87600h", zero="off"),
        "Time limit per task run, unless the task says otherwise.",
        go_names=("worker.active_timeout",),
    ),
    Option(
        "tasks.max_payload",
        "RUNQY_MAX_PAYLOAD",
        Size(maximum=16 * 1024**3, example="20MiB or 2GiB"),
        "The largest task that is run, by what Redis has of it (payload and all); a larger one is not "
        "fetched, and archived with the reason. A payload that runs or waits is in memory once.",
    ),
    Option(
        "tasks.max_result",
        "RUNQY_MAX_RESULT",
        Size(maximum=16 * 1024**3, example="20MiB or 2GiB"),
        "The longest answer of a task, result or error, in one line of JSON; a task whose answer is longer "
        "fails with the reason, and is archived unless every failure is retried (RUNQY_RETRY_POLICY).",
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
        "The lowest level that is logged to stderr.",
    ),
    Option(
        "log.format",
        "RUNQY_LOG_FORMAT",
        Choice(("text", "json")),
        "How log lines are written: for people (text) or one JSON object per line.",
    ),
    Option(
        "telemetry.otlp_endpoint",
        "RUNQY_OTLP_ENDPOINT",
        ServerUrl(),
        "Where to send spans of tasks and the metrics to: the address of an OpenTelemetry collector for OTLP "
        "over HTTP, such as http://collector:4318. Needs the extra otel.",
    ),
    Option(
        "telemetry.otlp_headers",
        "RUNQY_OTLP_HEADERS",
        Word(8192, ascii_only=True),
        "Headers for it, as OTEL_EXPORTER_OTLP_HEADERS has them: name=value, comma-separated, %20 for a "
        "blank.",
        secret=True,
        from_file=True,
        needs="telemetry.otlp_endpoint",
    ),
    Option(
        "telemetry.otlp_interval",
        "RUNQY_OTLP_INTERVAL",
        Duration("1s", "1h"),
        "How often metrics are sent there.",
    ),
    Option(
        "telemetry.sentry_dsn",
        "RUNQY_SENTRY_DSN",
        Word(1024, ascii_only=True),
        "The project of Sentry to send the worker's errors to: crashes of the task process among them. Needs "
        "the extra sentry.",
        secret=True,
        from_file=True,
    ),
)

#: Where the file may name which option.
OPTION_OF_PATH: dict[str, Option] = {path: option for option in OPTIONS for path in option.paths}

#: Every variable that means something.
VARIABLES: tuple[str, ...] = tuple(variable for option in OPTIONS for variable in option.variables)


def secrets(settings: Settings) -> tuple[str, ...]:
    """The values of all secret options that are set."""
    found = (getattr(getattr(settings, option.section), option.field) for option in OPTIONS if option.secret)
    return tuple(filter(None, found))


def did_you_mean(name: str, known: tuple[str, ...]) -> str:
    """Return a hint at the known name nearest to ``name``, empty where none is near."""
    leaf = name.rpartition(".")[2]
    near = [candidate for candidate in known if candidate.rpartition(".")[2] == leaf]
    near = near or get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
