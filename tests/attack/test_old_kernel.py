"""What a kernel without Landlock leaves: the worker itself stays closed, and what is lacking is said."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from appliance.exits import Exit
from tests.attack.target import WORKER_WITHOUT_LANDLOCK, Target, target
from tests.attack.test_task_code import CLAIMS, Claim
from tests.unit.config_garbage import REQUIRED

#: The claims that hold by other means; that they succeed with isolation off is tested with the others.
STILL = [
    claim
    for claim in CLAIMS
    if claim.attack
    in {
        "processes.memory",
        "processes.opened_memory",
        "processes.process_vm_read",
        "processes.attach",
        "processes.open_descriptor",
        "processes.take_descriptor",
        "processes.limit",
        "processes.lower_mark",
    }
    or claim.what == "the worker's environment is not read"
]


@pytest.fixture(scope="module")
def old() -> Iterator[Target]:
    with target(WORKER_WITHOUT_LANDLOCK) as running:
        yield running


@pytest.mark.parametrize("claim", STILL, ids=lambda claim: claim.what.replace(" ", "-"))
def test_the_worker_stays_closed(claim: Claim, old: Target) -> None:
    outcome = old.attack(claim.attack, **claim.arguments(old))

    assert outcome.refused, outcome


def test_a_secret_file_is_open_and_the_log_says_so(old: Target) -> None:
    assert old.attack("files.read", path=str(old.git_token_file)).got

    lacking = {
        event["protection"] for event in old.worker.log_events() if event["event"] == "isolation.lacking"
    }
    assert lacking == {"files", "truncation", "processes", "signals", "sockets"}


def test_where_it_is_required_the_worker_ends_and_names_what_is_missing() -> None:
    done = subprocess.run(
        (sys.executable, *WORKER_WITHOUT_LANDLOCK, "run"),
        env={**os.environ, **REQUIRED, "RUNQY_ISOLATION": "require", "RUNQY_LOG_FORMAT": "json"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert done.returncode == Exit.UNPROTECTED, done.stderr
    failed = json.loads(done.stderr.splitlines()[-1])
    assert failed["event"] == "worker.failed"
    assert "files: the kernel has no Landlock" in failed["reason"]
