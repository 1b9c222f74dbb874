"""Reading what git and the installers print when they fail: can it pass, or will it stay? Pure.

Neither program tells by its exit status, so their English messages are all there is (they are
run with ``LC_ALL=C``). The lists name messages of git, OpenSSH, libcurl, pip, uv and Poetry; one of
git's in no list is UNKNOWN, for callers to treat as passing: another attempt is cheap, a wrong
"final" ends the worker.
"""

import re
import signal
from collections.abc import Iterable
from enum import StrEnum


class FailureKind(StrEnum):
    """Whether running a failed program again can help."""

    PASSING = "passing"
    FINAL = "final"
    UNKNOWN = "unknown"


def _any(*patterns: str) -> str:
    return "|".join(patterns)


def _says(pattern: str, text: str) -> bool:
    """Compiled at the first failure: a worker that has none need not wait for it."""
    return re.search(pattern, text, re.IGNORECASE) is not None


_NETWORK = (
    r"could not resolve (host|proxy)",
    r"(temporary failure in|failed to lookup|name or service not known|nodename nor servname)",
    r"connection (was )?(refused|reset|closed|aborted|timed out|broken)",
    r"(operation|request|read|connect|connection) timed? ?out",
    r"(network|host) is (unreachable|down)",
    r"no route to host",
    r"failed to connect",
    r"could ?n.t connect",
    r"ssl_error_syscall|gnutls_handshake|unexpected eof while reading|tls handshake",
    r"no space left on device|disk quota exceeded|cannot allocate memory",
)
_GIT_PASSING = _any(
    *_NETWORK,
    r"early eof|rpc failed|hung up unexpectedly|the remote end hung up|unexpected disconnect",
    r"returned error: (408|425|429|5\d\d)",
    r"kex_exchange_identification|banner exchange|transfer closed with|operation too slow",
)
_GIT_FINAL = _any(
    r"authentication failed|could not read (username|password)|terminal prompts disabled",
    r"permission denied|host key verification failed|identification has changed|no matching host key",
    r"repository .*not found|does not appear to be a git repository|repository .* does not exist",
    r"returned error: 4(?!08|25|29)\d\d",
    r"certificate (problem|verify)|certificate verification failed",
    r"transport '.*' not allowed|unable to find remote helper|protocol '.*' is not supported",
    r"read-only file system|dubious ownership",
)
_INSTALL_PASSING = _any(
    *_NETWORK,
    r"newconnectionerror|connecttimeouterror|readtimeouterror|remotedisconnected|protocolerror|proxyerror",
    r"max retries exceeded|too many .* error responses|incompleteread",
    r"dns error|error sending request|error trying to connect|tcp connect error|client error \(connect\)",
    r"\b(408|425|429|5\d\d) (server|client) error",
    r"http (error|status)[^0-9]{0,30}(408|425|429|5\d\d)",
)


#: What is said of a disk that is full and of memory that ran out, with what helps.
DISK_FULL = (
    "a disk is full: make room where RUNQY_DEPLOYMENT_DIR (in it packages are built) and the installer's "
    "cache are"
)
OUT_OF_MEMORY = (
    "memory ran out, or something else killed the program: give the container more memory, or have packages "
    "installed from wheels, which takes less than building them"
)
_DISK_FULL = _any(r"no space left on device|disk quota exceeded|os error 28\b")
_OUT_OF_MEMORY = _any(
    r"cannot allocate memory|\bout of memory\b|memoryerror",
    r"killed signal terminated program|died with .*sigkill",
)


def shortage(status: int | None, lines: Iterable[str]) -> str:
    """What ran out, and what helps, if a program's exit ``status`` and output say that something did."""
    text = "\n".join(lines)
    if _says(_DISK_FULL, text):
        return DISK_FULL
    return OUT_OF_MEMORY if status == -signal.SIGKILL or _says(_OUT_OF_MEMORY, text) else ""


def kind_of_git_failure(lines: Iterable[str]) -> FailureKind:
    """What ``lines``, the end of git's output, say.

    What is final is looked for first: OpenSSH ends a refused login with "connection closed", too.
    """
    text = "\n".join(lines)
    if _says(_GIT_FINAL, text):
        return FailureKind.FINAL
    return FailureKind.PASSING if _says(_GIT_PASSING, text) else FailureKind.UNKNOWN


def kind_of_install_failure(lines: Iterable[str]) -> FailureKind:
    """What ``lines`` of an installer's whole output say.

    Network failures are looked for first: pip reports them as a warning, and then as a requirement
    that no index has. Without any, what failed will fail again.
    """
    return FailureKind.PASSING if any(_says(_INSTALL_PASSING, line) for line in lines) else FailureKind.FINAL
