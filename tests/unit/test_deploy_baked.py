"""Task code that came with the image: where it is, what runs it, and what is missing."""

import sys
from pathlib import Path

import pytest

from appliance.clock import SystemClock
from appliance.config.settings import BootstrapSettings, DeploymentSettings, GitSettings
from appliance.control.contract import DeploymentSpec, Mode
from appliance.deploy.deployment import Deployed, Deployer
from appliance.errors import DeploymentRejected
from appliance.process.environ import build_environment
from tests.integration import deploying


def _spec(code_path: str | None = None) -> DeploymentSpec:
    return DeploymentSpec(
        git_url="https://somebody:secret-canary@git.example.org/code.git",
        branch="main",
        code_path=code_path,
        startup_cmd="python main.py",
        mode=Mode.LONG_RUNNING,
        startup_timeout_s=60,
        redis_storage=True,
        requirements_file="requirements.txt",
    )


def _deploy(baked: Path, dir_: Path, code_path: str | None = None, *, inherit: bool = True) -> Deployed:
    settings = DeploymentSettings(dir=dir_, baked=baked, use_system_site_packages=inherit)
    deployer = Deployer(settings, BootstrapSettings(), GitSettings(), SystemClock(), str, deploying.unheld)
    return deployer.deploy("inference", _spec(code_path), None)


def _venv(folder: Path) -> Path:
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    return python


def _entries(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_code_is_used_where_it_is_with_the_machines_python_and_nothing_is_written(tmp_path: Path) -> None:
    # given code that declares something that no index has
    (tmp_path / "requirements.txt").write_text("no-such-package-anywhere==1\n")
    before = _entries(tmp_path)

    # when
    deployed = _deploy(tmp_path, tmp_path / "deployment")

    # then
    assert (deployed.code_dir, deployed.venv_dir, deployed.commit) == (tmp_path, None, "baked")
    assert deployed.python.exists()
    assert ".venv" not in str(deployed.python)
    assert _entries(tmp_path) == before


def test_a_baked_environment_wins_over_the_machines_python(tmp_path: Path) -> None:
    python = _venv(tmp_path)

    deployed = _deploy(tmp_path, tmp_path, inherit=False)

    assert (deployed.venv_dir, deployed.python) == (tmp_path / ".venv", python)


def test_the_servers_code_path_leads_on_from_the_folder(tmp_path: Path) -> None:
    (tmp_path / "tasks" / "llm").mkdir(parents=True)

    assert _deploy(tmp_path, tmp_path, "tasks/llm").code_dir == tmp_path / "tasks" / "llm"


def test_parent_in_the_path_is_a_folder_for_each_parent_queue(tmp_path: Path) -> None:
    (tmp_path / "inference").mkdir()

    assert _deploy(tmp_path / "{parent}", tmp_path).code_dir == tmp_path / "inference"


@pytest.mark.parametrize(
    ("make", "code_path", "inherit", "said"),
    [
        (None, None, True, "RUNQY_DEPLOYMENT_BAKED: there is no folder"),
        ("app", "tasks", True, "has no folder 'tasks'"),
        ("app", "../x", True, "relative path inside"),
        ("app", None, False, "RUNQY_USE_SYSTEM_SITE_PACKAGES=false, but"),
        ("app/.venv", None, True, "has no interpreter at bin/python"),
    ],
)
def test_what_is_missing_is_named(
    tmp_path: Path, make: str | None, code_path: str | None, inherit: bool, said: str
) -> None:
    if make:
        (tmp_path / make).mkdir(parents=True)

    with pytest.raises(DeploymentRejected) as caught:
        _deploy(tmp_path / "app", tmp_path, code_path, inherit=inherit)

    assert said in str(caught.value)


def test_the_log_names_what_is_ignored_without_its_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _deploy(tmp_path, tmp_path)

    said = "".join(capsys.readouterr())
    assert "git.example.org/code.git" in said
    assert "canary" not in said


def test_without_an_environment_none_is_pretended() -> None:
    env, _ = build_environment({"PATH": "/usr/bin"}, None, {})

    assert env == {"PATH": "/usr/bin", "PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1"}
