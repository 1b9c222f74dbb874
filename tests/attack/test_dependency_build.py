"""The attacker is what builds a dependency, or runs as git: it reaches its own slot, and no more of ours."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from appliance.config.settings import (
    DeploymentSettings,
    GitSettings,
    IsolationSettings,
    ServerSettings,
    Settings,
    WorkerSettings,
)
from appliance.errors import DeploymentError
from appliance.isolation import machine
from appliance.isolation.confinement import Confinement
from appliance.isolation.report import Level
from appliance.isolation.start import confine_tool
from harness import wait
from harness.sandbox.repo import make_repo
from tests.attack.target import WITHOUT_CAPABILITIES
from tests.integration import deploying
from tests.integration.deploying import PARENT, Rig

#: Tries all of it and writes down what it got. What it makes is taken away again.
ATTACK = """
import ctypes, json, os, pathlib
loot, secrets, plants, worker = json.loads(os.environ["ATTACK"])
# In a container, and unlike root on the machine of this test, nothing has any capability.
ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
got = {}
def attempt(name, do):
    try:
        got[name] = do()
    except OSError as refused:
        got[name] = None
for secret in secrets:
    attempt(f"read {secret}", lambda: pathlib.Path(secret).read_text(errors="replace") or "empty")
def plant(path):
    with open(path, "a"):
        return "planted"
for path in plants:
    attempt(f"write {path}", lambda: plant(path))
attempt("environment", lambda: pathlib.Path(f"/proc/{worker}/environ").read_text(errors="replace"))
attempt("descriptors", lambda: os.readlink(f"/proc/{worker}/fd/1"))
attempt("signal", lambda: str(os.kill(worker, 0)))
pathlib.Path(loot).write_text(json.dumps(got))
"""

pytestmark = pytest.mark.skipif(machine.kernel().landlock_abi < 6, reason="the kernel cannot do all of it")


class Field:
    """A rig whose worker has secrets, a state folder and another parent queue's deployment."""

    def __init__(self, rig: Rig, worker: int) -> None:
        self.rig = rig
        #: Stands for the worker, whose process this one cannot be: it has root's capabilities.
        self.worker = worker
        self.loot = rig.folder / "loot" / "got.json"
        neighbour = rig.deployment / "neighbour"
        self.secrets = [
            rig.folder / "secrets" / "api-key",
            rig.folder / "secrets" / "ssh-key",
            rig.folder / "state" / "outcome",
            neighbour / "main.py",
            rig.deployment / ".neighbour.worker" / "git" / "config",
            rig.deployment / ".neighbour.venv" / "pyvenv.cfg",
        ]
        for path in (*self.secrets, self.loot):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("canary")
        self.plants = [*self.secrets, rig.deployment / ".neighbour.used", rig.deployment / "planted"]
        for each in (*self.secrets, rig.deployment / "planted"):
            self.plants.append(each.with_name("planted"))
        self.settings = Settings(
            ServerSettings("http://server.test", "key"),
            WorkerSettings((PARENT,), state_dir=rig.folder / "state"),
            deployment=DeploymentSettings(rig.deployment),
            git=GitSettings(self.secrets[1]),
            isolation=IsolationSettings(secret_files=(self.secrets[0],)),
        )

    @property
    def order(self) -> str:
        """What the attack is told."""
        return json.dumps(
            [str(self.loot), list(map(str, self.secrets)), list(map(str, self.plants)), self.worker]
        )

    def deploy(self, files: dict[str, str], level: Level) -> dict[str, Any]:
        """Deploy a repository of these files, and return what it got of what it tried."""
        repo = make_repo(self.rig.folder / "evil.git", {"main.py": "", **files})
        confinement = Confinement(level, machine.kernel())
        self.rig.deploy(repo.url, confine=partial(confine_tool, self.settings, confinement))
        got = json.loads(self.loot.read_text())
        assert len(got) > len(self.secrets)
        return dict(got)


@pytest.fixture
def field(rig: Rig) -> Iterator[Field]:
    command = ["/bin/sleep", "1000"]
    if os.geteuid() == 0:
        command = ["/usr/bin/setpriv", *WITHOUT_CAPABILITIES[1:], *command]
    with subprocess.Popen(command, env={"RUNQY_API_KEY": "canary"}) as worker:
        wait.until(lambda: Path(f"/proc/{worker.pid}/comm").read_text() == "sleep\n", 60, "it to run")
        yield Field(rig, worker.pid)
        worker.kill()


def _as_dependency(field: Field, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("ATTACK", field.order)
    return deploying.built_by("evil", ATTACK)


def _with_uv(field: Field, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    deploying.with_uv(field.rig, monkeypatch)
    return _as_dependency(field, monkeypatch)


def _with_poetry(field: Field, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    deploying.with_uv(field.rig, monkeypatch)
    _program(field.rig.bin / "poetry", field, "")
    return {"pyproject.toml": '[tool.poetry.dependencies]\nanything = "*"\n'}


def _with_git(field: Field, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    deploying.without_environment(monkeypatch)
    git = (field.rig.bin / "git").resolve()
    (field.rig.bin / "git").unlink()
    _program(field.rig.bin / "git", field, f'exec {git} "$@"', only="fetch")
    return {}


def _program(path: Path, field: Field, then: str, only: str = "") -> None:
    """A program that attacks, when one of its arguments is ``only``."""
    script = field.rig.folder / "attack.py"
    script.write_text(ATTACK)
    attack = f"ATTACK='{field.order}' {sys.executable} {script}"
    path.write_text(f'#!/bin/sh\ncase " $* " in *" {only}"*) {attack};; esac\n{then}\n')
    path.chmod(0o755)


WAYS = {"pip": _as_dependency, "uv": _with_uv, "poetry": _with_poetry, "git": _with_git}


@pytest.mark.parametrize("way", WAYS)
def test_what_builds_or_clones_reaches_nothing_of_the_workers_and_of_no_other_parent(
    field: Field, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    got = field.deploy(WAYS[way](field, monkeypatch), Level.AUTO)

    assert {name: what for name, what in got.items() if what is not None} == {}
    assert not list(field.rig.folder.rglob("planted"))


@pytest.mark.parametrize("way", ["uv", "git"])
def test_without_isolation_it_reaches_all_of_it(
    field: Field, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    got = field.deploy(WAYS[way](field, monkeypatch), Level.OFF)

    assert [name for name, what in got.items() if what is None] == []
    assert got[f"read {field.secrets[0]}"] == "canary"


def test_an_installer_within_its_domain_installs_updates_and_keeps_its_cache_to_its_parent(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = field.rig
    deploying.with_uv(rig, monkeypatch)
    rig.wheel("tiny", "1.0")
    rig.wheel("tiny", "2.0")
    repo = make_repo(rig.folder / "good.git", {"main.py": "", "requirements.txt": "tiny==1.0\n"})
    confine = partial(confine_tool, field.settings, Confinement(Level.AUTO, machine.kernel()))

    rig.deploy(repo.url, confine=confine)
    repo.commit({"requirements.txt": "tiny==2.0\n"})
    rig.deploy(repo.url, confine=confine)

    assert list(rig.venv.glob("lib/python*/site-packages/tiny-2.0.dist-info"))
    assert (rig.deployment / f".{PARENT}.cache" / "uv").is_dir()
    assert not (rig.folder / "home" / ".cache").exists()


def test_what_is_being_built_lies_where_no_other_parents_task_code_gets_at_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploying.with_uv(rig, monkeypatch)
    poetry, seen = rig.bin / "poetry", rig.folder / "seen"
    poetry.write_text(f'#!/bin/sh\n: > "$TMPDIR/built"; echo "$TMPDIR" > {seen}\n')
    poetry.chmod(0o755)
    project = '[tool.poetry.dependencies]\nanything = "*"\n'
    # A worker that was killed left it, with something in it.
    left = rig.deployment / f".{PARENT}.tmp"
    (left / "planted").mkdir(parents=True)

    rig.deploy(make_repo(rig.folder / "good.git", {"main.py": "", "pyproject.toml": project}).url)

    # In the folder of deployments, which is closed to task code, unlike the machine's temporary files.
    assert seen.read_text() == f"{left}\n"
    assert not left.exists()


def test_files_of_a_cache_that_the_operator_named_are_no_files_of_the_environment(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploying.with_uv(rig, monkeypatch)
    monkeypatch.setenv("UV_CACHE_DIR", str(rig.folder / "cache"))
    rig.wheel("tiny", "1.0")
    repo = make_repo(rig.folder / "good.git", {"main.py": "", "requirements.txt": "tiny==1.0\n"})

    rig.deploy(repo.url)

    (module,) = rig.venv.glob("lib/python*/site-packages/tiny.py")
    assert module.stat().st_nlink == 1
    assert (rig.folder / "cache").is_dir()


def test_a_requirements_file_names_no_secret_of_the_workers_into_the_log(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploying.with_uv(field.rig, monkeypatch)
    field.secrets[0].write_text("canary of the key !!\n")
    repo = make_repo(
        field.rig.folder / "evil.git", {"requirements.txt": f"-r {field.secrets[0]}\n", "main.py": ""}
    )
    shown = {}

    for level in (Level.AUTO, Level.OFF):
        confine = partial(confine_tool, field.settings, Confinement(level, machine.kernel()))
        with pytest.raises(DeploymentError) as failed:
            field.rig.deploy(repo.url, confine=confine)
        shown[level] = "canary" in str(failed.value)

    assert shown == {Level.AUTO: False, Level.OFF: True}
