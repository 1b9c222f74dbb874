"""Which of the worker's own variables a task process gets. Pure.

It gets what its machine's owner set for every program, and nothing that opens something the worker was given
for itself: no setting of the worker's but those of :data:`FOR_TASKS`, no configuration of git, no SSH agent,
no login for a proxy or a package index. What task code needs of those, it is given in a vault.
"""

import re
from collections.abc import Iterator, Mapping

#: Variables of the worker that task code may know: what the specification documents, without credentials.
FOR_TASKS = frozenset(
    (
        "RUNQY_SERVER_URL",
        "RUNQY_QUEUES",
        "RUNQY_CONCURRENCY",
        "RUNQY_SHUTDOWN_TIMEOUT",
        "RUNQY_BOOTSTRAP_RETRIES",
        "RUNQY_BOOTSTRAP_RETRY_DELAY",
        "RUNQY_DEPLOYMENT_DIR",
        "RUNQY_USE_SYSTEM_SITE_PACKAGES",
        "RUNQY_MAX_RETRY",
        "RUNQY_RECOVERY_ENABLED",
        "RUNQY_RECOVERY_MAX_RESTARTS",
        "RUNQY_RECOVERY_INITIAL_DELAY",
        "RUNQY_RECOVERY_MAX_DELAY",
        "RUNQY_RECOVERY_COOLDOWN",
    )
)
#: Git takes any setting from these, a header with a token among them (git-config(1), ENVIRONMENT).
_GIT = "GIT_CONFIG"
#: The worker's SSH agent, and programs that ask for passwords: what fetches the code, and nothing else.
_FOR_FETCHING = frozenset(("SSH_AUTH_SOCK", "SSH_AGENT_PID", "SSH_ASKPASS", "GIT_ASKPASS"))
#: Addresses that may hold a login: proxies, and where pip, uv and Poetry get packages from.
_ADDRESS = re.compile(
    r".*_PROXY|(?:PIP|UV|POETRY|PIPENV|PDM)_.*|.*INDEX_URL.*|RUNQY_SERVER_URL", re.IGNORECASE
)
#: Variables that hold nothing but a login (uv, Poetry).
_LOGIN = re.compile(
    r"UV_(?:.*_)?(?:USERNAME|PASSWORD|TOKEN)|POETRY_(?:HTTP_BASIC|PYPI_TOKEN)_.*", re.IGNORECASE
)
_USER_INFO = re.compile(r"://[^\s/?#]*@")


def withheld(name: str, value: str) -> bool:
    """Whether a task process does not get this variable of the worker's."""
    if name in _FOR_FETCHING or (name.upper().startswith("RUNQY_") and name not in FOR_TASKS):
        return True
    return name.upper().startswith(_GIT) or _LOGIN.fullmatch(name) is not None or _opens(name, value)


def remarks(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The variables that other programs get and task code does not, each with why."""
    for name, value in sorted(environ.items()):
        if _opens(name, value):
            yield name, "it holds a login; task code that needs it can be given it in a vault"


def logins(environ: Mapping[str, str]) -> Iterator[str]:
    """The values of variables that hold a login for a proxy or an index, to be masked."""
    return (
        value for name, value in environ.items() if _opens(name, value) or _LOGIN.fullmatch(name) is not None
    )


def _opens(name: str, value: str) -> bool:
    if _ADDRESS.fullmatch(name) is None:
        return False
    # A proxy may be written without a scheme.
    return _USER_INFO.search(value) is not None or (name.upper().endswith("_PROXY") and "@" in value)
