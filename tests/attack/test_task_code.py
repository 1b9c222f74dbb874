"""The attacker is task code: each claim of the security page, and the same attack with isolation off."""

import os
import signal
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness import wait
from tests.attack.target import GIT_TOKEN, SSH_KEY, Outcome, Target, abstract_socket

YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")


@dataclass(frozen=True)
class Claim:
    """``attack`` with these arguments fails; ``succeeded`` says whether what was got is what was wanted."""

    what: str
    attack: str
    arguments: Callable[[Target], Mapping[str, Any]]
    succeeded: Callable[[Any, Target], bool] = lambda got, _: got is not None
    #: Yama, where it is set up, refuses the attack also without us.
    yama: bool = False


def _holds(secret: str) -> Callable[[Any, Target], bool]:
    return lambda got, _: secret in str(got)


def _worker(target: Target) -> dict[str, Any]:
    return {"pid": target.worker.pid}


def _signal(number: signal.Signals) -> Callable[[Target], dict[str, Any]]:
    return lambda target: {"pid": target.worker.pid, "number": number}


def _neighbour(target: Target) -> dict[str, Any]:
    return {"pid": target.pid_of("neighbour")}


def _installed(target: Target) -> dict[str, Any]:
    purelib = Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    return {"path": str(target.program / ".venv" / purelib / "attack_canary.pth")}


CLAIMS = [
    Claim(
        "the worker's environment is not read",
        "processes.environment",
        _worker,
        lambda got, target: target.api_key in str(got),
    ),
    Claim("the worker's memory is not read", "processes.memory", _worker, yama=True),
    Claim("the worker's memory is not opened", "processes.opened_memory", _worker, yama=True),
    Claim(
        "the worker's memory is not read by process_vm_readv", "processes.process_vm_read", _worker, yama=True
    ),
    Claim("the worker is not traced", "processes.attach", _worker, yama=True),
    Claim(
        "the worker's descriptors are not opened",
        "processes.open_descriptor",
        lambda target: {"pid": target.worker.pid, "number": 2},
    ),
    Claim(
        "the worker's descriptors are not taken",
        "processes.take_descriptor",
        lambda target: {"pid": target.worker.pid, "number": 2},
        yama=True,
    ),
    Claim("the worker's limits are not set", "processes.limit", _worker),
    Claim("the mark of a task process is not changed", "processes.lower_mark", lambda _: {}),
    Claim("the worker is not made to log", "processes.send", _signal(signal.SIGUSR1)),
    Claim("the worker is not made to log by pidfd", "processes.send_by_descriptor", _signal(signal.SIGUSR1)),
    Claim("the worker's group is not signalled", "processes.send_group", _signal(signal.SIGUSR1)),
    Claim("the worker is not frozen", "processes.freeze", _worker),
    Claim("the worker is not asked for anything", "processes.send", _signal(signal.Signals(18))),
    Claim("another parent's process is not frozen", "processes.freeze", _neighbour),
    Claim("another parent's environment is not read", "processes.environment", _neighbour),
    Claim("another parent's limits are not set", "processes.limit", _neighbour),
    Claim(
        "secret files are not read",
        "files.read",
        lambda target: {"path": str(target.git_token_file)},
        _holds(GIT_TOKEN),
    ),
    Claim(
        "the SSH key is not read", "files.read", lambda target: {"path": str(target.ssh_key)}, _holds(SSH_KEY)
    ),
    Claim(
        "a secret file is not read by a child",
        "files.through_a_child",
        lambda target: {"path": str(target.ssh_key)},
        _holds(SSH_KEY),
    ),
    Claim(
        "a secret file is not read through a link",
        "files.through_symlink",
        lambda target: {"path": str(target.ssh_key), "at": str(target.shared / "link")},
        _holds(SSH_KEY),
    ),
    Claim(
        "a secret file is not given another name",
        "files.link",
        lambda target: {"path": str(target.ssh_key), "at": str(target.shared / "hard")},
        _holds(SSH_KEY),
    ),
    Claim(
        "a secret file is not read through /proc",
        "files.through_root",
        lambda target: {"path": str(target.ssh_key)},
        _holds(SSH_KEY),
    ),
    Claim("the state folder is not read", "files.read", lambda target: {"path": str(target.state_file)}),
    Claim("no outcome is changed", "files.change", lambda target: {"path": str(target.state_file)}),
    Claim("no outcome is emptied", "files.empty", lambda target: {"path": str(target.state_file)}),
    Claim("no outcome is removed", "files.remove", lambda target: {"path": str(target.state_file)}),
    Claim("no outcome is forged", "files.write", lambda target: {"path": str(target.state / "forged.kept")}),
    Claim(
        "another parent's code is not read",
        "files.read",
        lambda target: {"path": str(target.deployment / "neighbour" / "main.py")},
    ),
    Claim(
        "another parent's code is not changed",
        "files.change",
        lambda target: {"path": str(target.deployment / "neighbour" / "main.py")},
    ),
    Claim(
        "nothing is planted beside the code",
        "files.write",
        lambda target: {"path": str(target.deployment / "planted")},
    ),
    Claim(
        "git's configuration for the next start is not read",
        "files.read",
        lambda target: {"path": str(target.deployment / ".inference.worker" / "git" / "config")},
    ),
    Claim(
        "git's configuration for the next start is not changed",
        "files.change",
        lambda target: {"path": str(target.deployment / ".inference.worker" / "git" / "config")},
    ),
    Claim(
        "what is installed is not changed",
        "files.change",
        lambda target: {"path": str(target.deployment / ".inference.venv" / "pyvenv.cfg")},
    ),
    Claim(
        "the packages of the next start are not exchanged",
        "files.write",
        lambda target: {"path": str(target.deployment / ".inference.cache" / "planted")},
    ),
    Claim("nothing is planted in the worker's own packages", "files.write", _installed),
    Claim(
        "the worker's own program is not changed",
        "files.change",
        lambda target: {"path": str(target.program / "appliance" / "__main__.py")},
    ),
]
each_claim = pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.what.replace(" ", "-"))


def _succeeded(claim: Claim, target: Target) -> tuple[bool, Outcome]:
    outcome = target.attack(claim.attack, **claim.arguments(target))
    return not outcome.refused and claim.succeeded(outcome.got, target), outcome


@each_claim
def test_the_attack_fails(claim: Claim, held: Target) -> None:
    succeeded, outcome = _succeeded(claim, held)

    assert not succeeded, outcome


@each_claim
def test_without_isolation_the_same_attack_succeeds(claim: Claim, mutant: Target) -> None:
    if claim.yama and YAMA.exists() and int(YAMA.read_text()) > 0:
        pytest.skip("Yama refuses it already, whatever the worker does")

    succeeded, outcome = _succeeded(claim, mutant)

    assert succeeded, outcome


def test_an_abstract_socket_of_another_process_is_not_reached(held: Target, mutant: Target) -> None:
    with abstract_socket(held.world.folder.name, b"canary-74"):
        refused = held.attack("processes.abstract_connect", name=held.world.folder.name)
        reached = mutant.attack("processes.abstract_connect", name=held.world.folder.name)

    assert "Permission" in refused.refused, refused
    assert reached.got == "canary-74", reached


def test_no_descriptor_of_the_worker_is_inherited(held: Target) -> None:
    assert held.attack("processes.descriptors").got == {}


@pytest.mark.parametrize("disguise", [False, True], ids=["as it is", "in disguise"])
def test_what_left_its_session_parent_and_environment_ends_with_its_process(
    request: pytest.FixtureRequest, disguise: bool
) -> None:
    # With isolation it cannot disguise itself, and without it does not help.
    target: Target = request.getfixturevalue("mutant" if disguise else "held")
    escaped = psutil.Process(target.attack("processes.escape", disguise=disguise).got)
    assert escaped.is_running()
    before = target.pid_of("inference")

    os.kill(before, signal.SIGKILL)

    wait.until(lambda: not escaped.is_running(), 60, "its end", target.worker.tail)
    wait.until(lambda: target.pid_of("inference") != before, 60, "the next process", target.worker.tail)
    # The worker became its parent, and has to reap it.
    states = [child.status() for child in psutil.Process(target.worker.pid).children()]
    assert psutil.STATUS_ZOMBIE not in states


def test_the_worker_is_there_after_all_attacks(held: Target) -> None:
    assert held.worker.exit_status is None
    wait.until(lambda: held.attack("processes.descriptors").got == {}, 60, "an answer", held.worker.tail)
