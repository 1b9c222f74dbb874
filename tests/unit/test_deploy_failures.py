"""What the last lines of git and of installers mean: worth another attempt, or not."""

import pytest

from appliance.deploy.failures import (
    DISK_FULL,
    OUT_OF_MEMORY,
    FailureKind,
    kind_of_git_failure,
    kind_of_install_failure,
    shortage,
)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("fatal: unable to access 'https://h/': Could not resolve host: h", FailureKind.PASSING),
        (
            "fatal: unable to access 'https://h/': Failed to connect to h port 443: Connection refused",
            FailureKind.PASSING,
        ),
        ("fatal: unable to access 'https://h/': The requested URL returned error: 503", FailureKind.PASSING),
        ("fatal: unable to access 'https://h/': The requested URL returned error: 429", FailureKind.PASSING),
        ("fatal: unable to access 'https://h/': The requested URL returned error: 403", FailureKind.FINAL),
        ("remote: Not Found\nfatal: repository 'https://h/r.git/' not found", FailureKind.FINAL),
        ("fatal: Authentication failed for 'https://h/r.git/'", FailureKind.FINAL),
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", FailureKind.FINAL),
        (
            "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.",
            FailureKind.FINAL,
        ),
        ("Host key verification failed.\nConnection closed by h port 22", FailureKind.FINAL),
        ("kex_exchange_identification: Connection closed by remote host", FailureKind.PASSING),
        ("ssh: connect to host h port 22: Connection timed out", FailureKind.PASSING),
        ("ssh: Could not resolve hostname h: Temporary failure in name resolution", FailureKind.PASSING),
        (
            "error: RPC failed; curl 92 HTTP/2 stream 5 was not closed cleanly\nfatal: early EOF",
            FailureKind.PASSING,
        ),
        ("fatal: '/srv/r' does not appear to be a git repository", FailureKind.FINAL),
        (
            "fatal: unable to access 'https://h/': SSL certificate problem: self-signed certificate",
            FailureKind.FINAL,
        ),
        ("fatal: detected dubious ownership in repository at '/srv/r'", FailureKind.FINAL),
        ("fatal: write error: No space left on device", FailureKind.PASSING),
        ("fatal: something nobody has seen before", FailureKind.UNKNOWN),
        ("", FailureKind.UNKNOWN),
    ],
)
def test_gits_last_lines_mean(said: str, kind: FailureKind) -> None:
    assert kind_of_git_failure(said.splitlines()) is kind


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("ERROR: No matching distribution found for nope==1", FailureKind.FINAL),
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...)'\n"
            "ERROR: No matching distribution found for a",
            FailureKind.PASSING,
        ),
        ("ERROR: HTTP error 503 while getting https://h/a.whl", FailureKind.PASSING),
        ("ERROR: 404 Client Error: Not Found for url: https://h/a.whl", FailureKind.FINAL),
        ("ERROR: 502 Server Error: Bad Gateway for url: https://h/a.whl", FailureKind.PASSING),
        (
            "error: Failed to fetch: `https://h/`\n  Caused by: dns error: failed to lookup address",
            FailureKind.PASSING,
        ),
        ("  × No solution found when resolving dependencies:", FailureKind.FINAL),
        ("error: subprocess-exited-with-error\n  gcc: command not found", FailureKind.FINAL),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            FailureKind.PASSING,
        ),
        ("ERROR: ResolutionImpossible", FailureKind.FINAL),
        ("", FailureKind.FINAL),
    ],
)
def test_an_installers_output_means(said: str, kind: FailureKind) -> None:
    assert kind_of_install_failure(said.splitlines()) is kind


@pytest.mark.parametrize(
    ("status", "said", "told"),
    [
        (128, "fatal: write error: No space left on device", DISK_FULL),
        (1, "OSError: [Errno 28] No space left on device", DISK_FULL),
        (2, "error: failed to write to file: No space left on device (os error 28)", DISK_FULL),
        (1, "OSError: [Errno 122] Disk quota exceeded", DISK_FULL),
        (-9, "Collecting torch", OUT_OF_MEMORY),
        (1, "g++: fatal error: Killed signal terminated program cc1plus", OUT_OF_MEMORY),
        (1, "MemoryError", OUT_OF_MEMORY),
        (1, "subprocess.CalledProcessError: Command died with <Signals.SIGKILL: 9>.", OUT_OF_MEMORY),
        (1, "ERROR: No matching distribution found for nope==1", ""),
        (-15, "", ""),
        (None, "", ""),
    ],
)
def test_a_full_disk_and_too_little_memory_are_named(status: int | None, said: str, told: str) -> None:
    assert shortage(status, said.splitlines()) == told
