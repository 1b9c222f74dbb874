"""Environments: made once, filled by a real pip, filled again only when something changed, repaired."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest

from appliance.clock import SystemClock
from appliance.deploy import deployment
from appliance.deploy.deployment import Deployed
from appliance.errors import DeploymentRejected, DeploymentUnavailable
from harness import wait
from harness.sandbox.repo import GitRepo, make_repo
from tests.integration import deploying
from tests.integration.deploying import Rig, nobody_waits

#: Says that it has begun, and waits to be let go on.
WAIT = """
pathlib.Path("{there}").touch()
print(open("{go}").readline())
"""


@pytest.fixture
def uv(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    deploying.with_uv(rig, monkeypatch)


def run(deployed: Deployed, code: str) -> str:
    """What the environment's interpreter prints, or the end of its complaint."""
    env = {"HOME": os.environ["HOME"]}
    argv = [str(deployed.python), "-c", code]
    done = subprocess.run(argv, cwd="/", env=env, capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def version(deployed: Deployed, package: str) -> str:
    return run(deployed, f"import {package}; print({package}.VERSION)")


def installations(rig: Rig) -> int:
    """How often pip ran so far."""
    return sum("pip install" in entry["command"] for entry in rig.logged("deploy.command"))


def repo_with(rig: Rig, files: Mapping[str, str]) -> GitRepo:
    return make_repo(rig.folder / "code.git", {"main.py": "", **files})


@contextmanager
def slow_build(rig: Rig) -> Iterator[GitRepo]:
    """A repository whose requirements take until a line is written to ``go``; ``there`` says they began."""
    os.mkfifo(rig.folder / "go")
    wait_there = WAIT.format(there=rig.folder / "there", go=rig.folder / "go")
    try:
        yield repo_with(rig, deploying.built_by("slow", wait_there))
    finally:
        nobody_waits(rig.folder / "go")


def test_requirements_are_installed_once_and_again_only_when_they_change(rig: Rig, copies: None) -> None:
    rig.wheel("tiny", "1.0")
    rig.wheel("tiny", "2.0")
    repo = repo_with(rig, {"requirements.txt": "tiny==1.0\n"})

    first = rig.deploy(repo.url)
    assert version(first, "tiny") == "1.0"
    repo.commit({"main.py": "print('other code')"})
    rig.deploy(repo.url)
    assert installations(rig) == 1
    repo.commit({"requirements.txt": "tiny==2.0\n"})
    second = rig.deploy(repo.url)

    assert version(second, "tiny") == "2.0"
    assert installations(rig) == 2
    assert rig.steps("environment") == ["rebuild", "keep", "install"]
    assert rig.logged("deploy.environment")[-1]["reason"] == "dependencies changed"


def test_a_nested_or_constraining_file_counts_like_the_first(rig: Rig, uv: None) -> None:
    rig.wheel("tiny", "1.0")
    rig.wheel("tiny", "2.0")
    files = {
        "gpu.txt": "-r more/base.txt\n-c limits.txt\n",
        "more/base.txt": "tiny\n",
        "limits.txt": "tiny<2\n",
    }
    repo = repo_with(rig, {**files, "requirements.txt": "nothing-of-this-name\n"})
    spec = {"requirements_file": "gpu.txt"}

    deployed = rig.deploy(repo.url, spec=spec)
    assert version(deployed, "tiny") == "1.0"
    rig.deploy(repo.url, spec=spec)
    assert installations(rig) == 1
    repo.commit({"limits.txt": "tiny==2.0\n"})
    rig.deploy(repo.url, spec=spec)

    assert version(deployed, "tiny") == "2.0"


def test_a_requirements_file_that_somebody_named_has_to_be_there(rig: Rig) -> None:
    repo = repo_with(rig, {"requirements.txt": ""})

    with pytest.raises(DeploymentRejected, match=r"requirements_file: .* no file 'gpu\.txt'"):
        rig.deploy(repo.url, spec={"requirements_file": "gpu.txt"})


def test_code_without_dependencies_gets_an_environment_too_and_a_link_to_it(rig: Rig, uv: None) -> None:
    repo = make_repo(rig.folder / "code.git", {"tasks/a/main.py": ""})

    deployed = rig.deploy(repo.url, spec={"code_path": "tasks/a"})

    assert deployed.venv_dir == rig.venv
    assert (rig.clone / "tasks" / "a" / ".venv").readlink() == rig.venv
    assert run(deployed, "import sys; print(sys.prefix)") == str(deployed.venv_dir)
    assert installations(rig) == 0
    # The worker's own packages.
    for package in ("structlog", "gevent", "appliance"):
        assert f"No module named '{package}'" in run(deployed, f"import {package}")


def test_the_machines_packages_are_inherited_only_where_settings_say_so_and_never_the_workers(
    rig: Rig, copies: None
) -> None:
    where = [str(deployment._base_python()), "-m", "site", "--user-site"]
    site = Path(subprocess.run(where, capture_output=True, text=True, check=False).stdout.strip())
    assert site.is_relative_to(rig.folder)
    shutil.unpack_archive(rig.wheel("machines", "1.0"), site, "zip")
    repo = repo_with(rig, {"requirements.txt": "machines\n"})

    with_them = rig.deploy(repo.url, system_site_packages=True)
    assert version(with_them, "machines") == "1.0"
    assert not list(with_them.venv_dir.glob("lib/python*/site-packages/machines*"))
    assert sys.prefix not in run(with_them, "import sys; print(sys.path)")
    assert "No module named 'appliance'" in run(with_them, "import appliance")

    rig.deploy(repo.url, system_site_packages=True)
    assert installations(rig) == 1
    shutil.unpack_archive(rig.wheel("machines", "2.0"), site, "zip")
    (site / "machines-1.0.dist-info" / "METADATA").unlink()
    rig.deploy(repo.url, system_site_packages=True)
    assert installations(rig) == 2

    shutil.rmtree(site)
    without = rig.deploy(repo.url, system_site_packages=False)
    assert list(without.venv_dir.glob("lib/python*/site-packages/machines*"))
    assert rig.steps("environment") == ["rebuild", "keep", "install", "rebuild"]
    assert "system_site_packages was True" in rig.logged("deploy.environment")[-1]["reason"]


def _other_interpreter(rig: Rig) -> None:
    path = rig.kept / "environment.json"
    record = json.loads(path.read_text())
    record["made_from"]["version"] = "cpython 3.2.1"
    path.write_text(json.dumps(record))


def _no_interpreter(rig: Rig) -> None:
    (rig.venv / "bin" / "python").unlink()
    (rig.venv / "bin" / "python").symlink_to("/nowhere/python")


def _half_a_record(rig: Rig) -> None:
    (rig.kept / "environment.json").write_text("{")


def _no_record(rig: Rig) -> None:
    (rig.kept / "environment.json").unlink()


def _a_link(rig: Rig) -> None:
    elsewhere = rig.folder / "elsewhere"
    rig.venv.rename(elsewhere)
    rig.venv.symlink_to(elsewhere)


@pytest.mark.parametrize("damage", [_other_interpreter, _no_interpreter, _half_a_record, _no_record, _a_link])
def test_an_environment_that_is_broken_or_another_pythons_is_made_anew(
    rig: Rig, uv: None, damage: Callable[[Rig], None]
) -> None:
    rig.wheel("tiny")
    repo = repo_with(rig, {"requirements.txt": "tiny\n"})
    deployed = rig.deploy(repo.url)
    (deployed.venv_dir / "left-over").touch()
    damage(rig)

    rig.deploy(repo.url)

    assert rig.steps("environment") == ["rebuild", "rebuild"]
    assert version(deployed, "tiny") == "1.0"
    assert not (deployed.venv_dir / "left-over").exists()


def test_a_worker_killed_while_the_environment_is_made_leaves_nothing_to_trust(rig: Rig) -> None:
    rig.wheel("tiny")
    repo = repo_with(rig, {"requirements.txt": "tiny\n"})
    killed = rig.start(repo.url)
    wait.until((rig.venv / "pyvenv.cfg").exists, 180, "the environment to begin")
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=180)

    deployed = rig.deploy(repo.url)

    assert version(deployed, "tiny") == "1.0"
    assert rig.logged("deploy.environment")[0]["reason"] == "there is no finished environment"


def test_a_worker_killed_while_pip_works_leaves_it_to_the_next_which_waits_for_that_pip(rig: Rig) -> None:
    with slow_build(rig) as repo:
        killed = rig.start(repo.url)
        wait.until((rig.folder / "there").exists, 180, "the build to begin")
        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=180)

        # It is still there, and still has the lock.
        second = gevent.spawn(rig.deploy, repo.url)
        wait.until(lambda: rig.logged("deploy.waiting_for_lock"), 180, "the second to wait")
        (rig.folder / "go").write_text("on\n")
        wait.until(lambda: rig.logged("deploy.environment"), 180, "the second to go on")
        (rig.folder / "go").write_text("on\n")
        deployed = second.get(timeout=180)

    assert rig.logged("deploy.environment")[0]["reason"] == "dependencies were not installed to the end"
    assert version(deployed, "slow") == "1.0"


def test_two_workers_that_start_at_once_share_one_environment(rig: Rig, uv: None) -> None:
    rig.wheel("tiny")
    repo = repo_with(rig, {"requirements.txt": "tiny\n"})

    workers = [rig.start(repo.url) for _ in range(2)]
    said = "".join(worker.communicate(timeout=180)[0] for worker in workers)

    assert [worker.returncode for worker in workers] == [0, 0], said
    assert version(rig.deploy(repo.url), "tiny") == "1.0"
    assert said.count("step=rebuild") == 1, said
    assert said.count("step=keep") == 1, said
    assert rig.steps("environment") == ["keep"]


def test_a_requirement_that_cannot_be_met_is_refused_once_with_pips_last_lines(
    rig: Rig, copies: None
) -> None:
    repo = repo_with(rig, {"requirements.txt": "no-such-package==1\n"})

    with pytest.raises(
        DeploymentRejected, match=r"(?s)pip install.*No matching distribution found for no-such-package"
    ):
        rig.deploy(repo.url, retries=2)

    assert installations(rig) == 1
    assert rig.logged("deploy.attempt_failed") == []


def test_an_index_that_is_away_is_asked_again_and_can_come_back(
    rig: Rig, copies: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = repo_with(rig, {"requirements.txt": "tiny==1.0\n"})
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")

    with pytest.raises(DeploymentUnavailable, match=r"(?s)pip install.*tiny==1\.0"):
        rig.deploy(repo.url, retries=1)
    assert installations(rig) == 2
    rig.wheel("tiny")
    deployed = rig.deploy(repo.url)

    assert version(deployed, "tiny") == "1.0"
    assert rig.steps("environment") == ["rebuild", "install", "install"]


def test_an_index_that_is_away_is_asked_again_by_uv_too(
    rig: Rig, uv: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = repo_with(rig, {"requirements.txt": "tiny==1.0\n"})
    monkeypatch.delenv("UV_CONFIG_FILE")
    monkeypatch.setenv("UV_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")

    with pytest.raises(DeploymentUnavailable, match=r"(?s)uv pip install.*127\.0\.0\.1:1"):
        rig.deploy(repo.url, retries=1)

    assert installations(rig) == 2


def test_what_earlier_versions_left_behind_is_cleared_away_when_it_is_in_the_way(
    rig: Rig, copies: None
) -> None:
    rig.wheel("tiny", "1.0")
    rig.wheel("tiny", "2.0")
    repo = repo_with(rig, {"requirements.txt": "tiny==1.0\n"})
    deployed = rig.deploy(repo.url)
    (site,) = deployed.venv_dir.glob("lib/python*/site-packages")
    shutil.rmtree(site / "pip")
    repo.commit({"requirements.txt": "tiny==2.0\n"})

    rig.deploy(repo.url)

    assert version(deployed, "tiny") == "2.0"
    assert rig.logged("deploy.environment_recreated")


def test_progress_is_logged_while_pip_works_and_while_it_is_silent(
    rig: Rig, copies: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hasty(SystemClock):
        """Fifteen seconds in one; more would end a slow machine's installer at its limit."""

        def monotonic(self) -> float:
            return super().monotonic() * 15

    with slow_build(rig) as repo:
        running = gevent.spawn(rig.deploy, repo.url, clock=Hasty())
        wait.until((rig.folder / "there").exists, 180, "the build to begin")
        so_far = len(rig.logged("deploy.still_working"))
        wait.until(lambda: len(rig.logged("deploy.still_working")) > so_far + 1, 180, "lines during silence")
        (rig.folder / "go").write_text("on\n")
        running.get(timeout=180)

    # Now and then the latest line: which of pip's lines these are is up to the machine.
    lines = [entry["line"] for entry in rig.logged("deploy.progress")]
    heard = [entry["line"] for entry in rig.logged("deploy.output")]
    of_pip = heard[next(n for n, line in enumerate(heard) if "slow" in line) :]
    assert set(lines) <= set(heard)
    assert set(lines) & set(of_pip), lines


def test_the_task_codes_own_modules_do_not_get_in_pips_way(rig: Rig, copies: None) -> None:
    rig.wheel("tiny")
    clash = "raise SystemExit('imported by mistake')\n"
    names = ("logging.py", "json.py", "queue.py", "pip.py", "venv.py", "sitecustomize.py")
    repo = repo_with(rig, {**dict.fromkeys(names, clash), "requirements.txt": "tiny\n"})

    assert version(rig.deploy(repo.url), "tiny") == "1.0"
    assert version(rig.deploy(repo.url, system_site_packages=True), "tiny") == "1.0"


def test_a_pep_621_project_is_left_where_it_is_and_its_dependencies_installed(rig: Rig, uv: None) -> None:
    rig.wheel("tiny")
    project = '[project]\nname = "code"\nversion = "0"\ndependencies = ["tiny>=1 ; python_version > \'3\'"]\n'
    repo = repo_with(rig, {"pyproject.toml": project})

    deployed = rig.deploy(repo.url)
    assert version(deployed, "tiny") == "1.0"
    assert "No package metadata" in run(deployed, "import importlib.metadata as m; m.version('code')")
    repo.commit({"pyproject.toml": project + "[tool.other]\nkey = 1\n"})
    rig.deploy(repo.url)

    assert rig.steps("environment") == ["rebuild", "keep"]
    assert rig.logged("deploy.environment")[0]["dependencies"] == "pyproject.toml [project]"


def test_a_poetry_project_is_installed_without_poetry_at_its_locked_versions(rig: Rig, uv: None) -> None:
    rig.wheel("tiny", "1.0")
    rig.wheel("tiny", "1.5")
    project = (
        '[tool.poetry]\nname = "code"\nversion = "0"\n'
        '[tool.poetry.dependencies]\npython = "^3.11"\ntiny = "^1.0"\n'
        '[tool.poetry.group.dev.dependencies]\nno-such-package = "*"\n'
    )
    lock = '[[package]]\nname = "tiny"\nversion = "1.0"\n[metadata]\nlock-version = "2.0"\n'
    repo = repo_with(rig, {"pyproject.toml": project, "poetry.lock": lock})

    deployed = rig.deploy(repo.url)
    assert version(deployed, "tiny") == "1.0"
    repo.commit({"poetry.lock": lock.replace("1.0", "1.5")})
    rig.deploy(repo.url)

    assert version(deployed, "tiny") == "1.5"
    assert rig.logged("deploy.environment")[0]["dependencies"] == "pyproject.toml [tool.poetry]"


def test_a_poetry_project_is_installed_by_poetry_where_it_is_installed(rig: Rig, uv: None) -> None:
    note = f'printf "%s\\n" "$@" "$PWD" "$VIRTUAL_ENV" > {rig.folder}/poetry'
    lock = "[ -e fail ] || { echo '# made by poetry' > poetry.lock; exit 0; }"
    (rig.bin / "poetry").write_text(f"#!/bin/sh\n{note}\n{lock}\necho no such extra\nexit 1\n")
    (rig.bin / "poetry").chmod(0o755)
    repo = repo_with(rig, {"pyproject.toml": '[tool.poetry.dependencies]\nanything = "^1 || ^3"\n'})

    deployed = rig.deploy(repo.url)

    said = (rig.folder / "poetry").read_text().splitlines()
    assert said[:2] == ["install", "--only"]
    assert said[-2:] == [str(deployed.code_dir), str(deployed.venv_dir)]
    # The lock file that Poetry made is nobody's wish.
    rig.deploy(repo.url)
    assert rig.steps("environment") == ["rebuild", "keep"]
    repo.commit({"poetry.lock": "[[package]]\n", "fail": ""})
    with pytest.raises(DeploymentRejected, match=r"(?s)poetry install.*no such extra"):
        rig.deploy(repo.url)


def test_with_uv_on_the_path_it_makes_and_fills_environments_that_inherit_nothing(rig: Rig, uv: None) -> None:
    rig.wheel("tiny", "1.0")
    rig.wheel("tiny", "2.0")
    repo = repo_with(rig, {"requirements.txt": "tiny==1.0\n"})

    first = rig.deploy(repo.url)
    assert version(first, "tiny") == "1.0"
    rig.deploy(repo.url)
    repo.commit({"requirements.txt": "tiny==2.0\n"})
    assert version(rig.deploy(repo.url), "tiny") == "2.0"
    repo.commit({"requirements.txt": "no-such-package\n"})
    with pytest.raises(DeploymentRejected, match=r"(?s)uv pip install.*no-such-package"):
        rig.deploy(repo.url)

    assert rig.steps("environment") == ["rebuild", "keep", "install", "install"]
    assert {entry["installer"] for entry in rig.logged("deploy.environment")} == {"uv"}


def test_uv_is_left_alone_where_pip_is_to_install(rig: Rig, uv: None, copies: None) -> None:
    rig.deploy(rig.repo().url, installer="pip")

    assert [entry["installer"] for entry in rig.logged("deploy.environment")] == ["pip"]


def test_uv_is_left_alone_where_the_machines_packages_are_inherited(rig: Rig, uv: None, copies: None) -> None:
    repo = repo_with(rig, {})

    rig.deploy(repo.url, system_site_packages=True)

    assert rig.logged("deploy.environment")[0]["installer"] == "pip"


def test_nothing_of_the_workers_settings_is_in_the_environment_of_what_is_built(
    rig: Rig, copies: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNQY_API_KEY", "canary-key")
    monkeypatch.setenv("RUNQY_GIT_TOKEN", "canary-token")
    tell = f"import os\npathlib.Path('{rig.folder}/seen').write_text(str(os.environ))"
    repo = repo_with(rig, deploying.built_by("teller", tell))

    rig.deploy(repo.url, token="canary-server-token")

    seen = (rig.folder / "seen").read_text()
    assert "PIP_FIND_LINKS" in seen
    # But for the mark by which what it leaves running is found.
    assert "RUNQY" not in seen.replace("RUNQY_TASK_PROCESS", "")
    assert "canary" not in seen
