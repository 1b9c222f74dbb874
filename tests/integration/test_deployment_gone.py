"""A repository that has gone: a restart goes on with good code and says so, a first start does not begin."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest

from appliance.control.contract import DeploymentSpec
from appliance.deploy.deployment import Deployed
from appliance.errors import DeploymentRejected, DeploymentUnavailable, RepositoryGone
from appliance.exits import Exit
from harness import wait
from harness.sandbox.ports import free_port
from harness.sandbox.repo import GitRepo, make_repo
from tests.integration import deploying
from tests.integration.deploying import Rig
from tests.integration.private_git import PrivateHost, private_host
from tests.integration.world import World

TOKEN = "canary-token-right"


@pytest.fixture
def code_only(monkeypatch: pytest.MonkeyPatch) -> None:
    deploying.without_environment(monkeypatch)


@dataclass
class Origin:
    """A repository with one folder of code, behind a host that asks for ``token``."""

    rig: Rig
    repo: GitRepo
    host: PrivateHost
    token: str = TOKEN

    def deploy(self, **settings: object) -> Deployed:
        spec = {"code_path": "task"}
        return self.rig.deploy(self.host.url(), token=self.token, spec=spec, **settings)


@pytest.fixture
def origin(rig: Rig) -> Iterator[Origin]:
    repo = make_repo(rig.folder / "origin.git", {"task/main.py": "good code"})
    with private_host(repo, TOKEN) as host:
        yield Origin(rig, repo, host)


def deleted(origin: Origin) -> None:
    shutil.rmtree(origin.repo.folder)


def branch_deleted(origin: Origin) -> None:
    subprocess.run(["git", "branch", "-m", "main", "trunk"], cwd=origin.repo.folder, check=True)


def token_revoked(origin: Origin) -> None:
    origin.host.password = "another"


def token_withdrawn(origin: Origin) -> None:
    origin.token = ""


def answers(status: int) -> Callable[[Origin], None]:
    def refuse(origin: Origin) -> None:
        origin.host.refuses = status

    refuse.__name__ = f"answers_{status}"
    return refuse


GONE = [deleted, branch_deleted, token_revoked, token_withdrawn, answers(403), answers(404), answers(410)]


@pytest.mark.parametrize("gone", GONE, ids=lambda gone: gone.__name__)
@pytest.mark.usefixtures("code_only")
def test_a_restart_goes_on_with_the_code_of_an_earlier_start(
    origin: Origin, gone: Callable[[Origin], None]
) -> None:
    first = origin.deploy()
    gone(origin)
    # What a crash of the worker can leave is put right as well.
    (first.code_dir / "main.py").write_text("half wri")

    again = origin.deploy()

    assert (again.commit, again.code_dir) == (first.commit, first.code_dir)
    assert (again.code_dir / "main.py").read_text() == "good code"
    assert again.repository_problem == (
        f"the repository refuses the code; commit {first.commit} of an earlier start is used"
    )
    assert again.notes == (again.repository_problem,)
    (event,) = origin.rig.logged("deploy.repository_unavailable")
    assert (event["log_level"], event["commit"]) == ("warning", first.commit)
    assert "canary" not in str(event)


@pytest.mark.parametrize("gone", GONE, ids=lambda gone: gone.__name__)
@pytest.mark.usefixtures("code_only")
def test_a_first_start_without_a_repository_is_refused(
    origin: Origin, gone: Callable[[Origin], None]
) -> None:
    gone(origin)

    with pytest.raises(RepositoryGone):
        origin.deploy(retries=3)

    assert origin.rig.logged("deploy.attempt_failed") == []


@pytest.mark.usefixtures("code_only")
def test_code_of_an_earlier_start_that_is_damaged_is_no_good_code(origin: Origin) -> None:
    first = origin.deploy()
    deleted(origin)
    shutil.rmtree(origin.rig.git_dir / "objects")
    (first.code_dir / "main.py").unlink()

    with pytest.raises(DeploymentRejected):
        origin.deploy()


@pytest.mark.usefixtures("code_only")
def test_a_redeployment_is_refused_because_the_old_process_still_runs(origin: Origin) -> None:
    origin.deploy()
    deleted(origin)

    spec = DeploymentSpec(origin.host.url(), "main", "python main.py", "task")

    with pytest.raises(RepositoryGone):
        origin.rig.deployer().deploy(deploying.PARENT, spec, TOKEN, may_stay=False)


@pytest.mark.usefixtures("code_only")
def test_a_repository_that_is_back_is_followed_again(origin: Origin) -> None:
    origin.deploy()
    origin.host.refuses = 404
    origin.deploy()
    origin.host.refuses = 0
    second = origin.repo.commit({"task/main.py": "better code"})

    again = origin.deploy()

    assert (again.commit, again.repository_problem, again.notes) == (second, "", ())


def test_neither_repository_nor_package_index_is_needed_where_nothing_changed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploying.with_uv(rig, monkeypatch)
    wheel = rig.wheel("colours")
    repo = rig.repo(main_py="", requirements_txt="colours\n")
    first = rig.deploy(repo.url)
    shutil.rmtree(repo.folder)
    wheel.unlink()
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("UV_INDEX_URL", "http://127.0.0.1:1/simple")

    again = rig.deploy(repo.url)

    assert again.commit == first.commit
    assert rig.steps("environment") == ["rebuild", "keep"]
    argv = [again.python, "-c", "import colours; print(colours.VERSION)"]
    told = subprocess.run(argv, capture_output=True, check=True)
    assert told.stdout == b"1.0\n"


def _index_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV_CONFIG_FILE")
    monkeypatch.setenv("UV_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")


def test_a_restart_goes_on_with_good_code_where_packages_of_the_newest_cannot_be_had(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploying.with_uv(rig, monkeypatch)
    wheel = rig.wheel("colours")
    repo = rig.repo(main_py="good", requirements_txt="colours\n")
    first = rig.deploy(repo.url)
    wheel.unlink()
    second = repo.commit({"main.py": "newest", "requirements.txt": "colours\nflavours\n"})
    no_index = os.environ["UV_CONFIG_FILE"]
    _index_away(monkeypatch)

    # A second restart meets the same, and must not take the newest commit for code that once ran.
    for _ in range(2):
        again = rig.deploy(repo.url)
        assert (again.commit, rig.text()) == (first.commit, "good")
        assert again.repository_problem.startswith("packages of the newest commit cannot be had")
        subprocess.run([again.python, "-c", "import colours"], check=True)
    assert rig.logged("deploy.packages_unavailable")[0]["log_level"] == "warning"

    monkeypatch.setenv("UV_CONFIG_FILE", no_index)
    monkeypatch.delenv("UV_INDEX_URL")
    rig.wheel("flavours")
    back = rig.deploy(repo.url)
    assert (back.commit, back.repository_problem) == (second, "")


def test_a_redeployment_is_refused_where_packages_of_the_newest_cannot_be_had(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploying.with_uv(rig, monkeypatch)
    repo = rig.repo(main_py="good", requirements_txt="")
    rig.deploy(repo.url)
    repo.commit({"requirements.txt": "flavours\n"})
    _index_away(monkeypatch)

    with pytest.raises(DeploymentUnavailable, match="flavours"):
        rig.deployer().deploy(
            deploying.PARENT, DeploymentSpec(repo.url, "main", "python main.py"), None, may_stay=False
        )


def test_a_worker_restarted_without_its_repository_works_and_shows_it_until_the_repository_is_back(
    world: World,
) -> None:
    port = free_port()
    repo = world.serve("raw_echo")
    first = world.worker()
    world.running(first)
    first.terminate()
    assert first.wait(60) == Exit.OK
    hidden = repo.folder.rename(repo.folder.with_name("hidden.git"))

    worker = world.worker(RUNQY_HTTP_ADDR=f"127.0.0.1:{port}")
    world.running(worker)

    assert world.event(worker, "deploy.repository_unavailable")["level"] == "warning"
    world.seed(1)
    world.completed(1, worker)
    wait.until(lambda: _lane(port)["repository_answers"] is False, 60, "the status to say so", worker.tail)
    assert "refuses the code" in _lane(port)["notes"][0]
    wait.until(lambda: _metric(port) == "0.0", 60, "the metric to say so", worker.tail)

    hidden.rename(repo.folder)
    worker.signal(signal.SIGHUP)
    world.event(worker, "redeploy.unchanged")

    wait.until(lambda: _lane(port)["repository_answers"], 60, "the status to say so", worker.tail)
    assert _lane(port)["notes"] == []
    wait.until(lambda: _metric(port) == "1.0", 60, "the metric to say so", worker.tail)


def test_a_worker_that_never_had_the_code_ends_with_status_4(world: World) -> None:
    repo = world.serve("raw_echo")
    shutil.rmtree(repo.folder)

    assert world.worker().wait(30) == Exit.DEPLOYMENT


def _lane(port: int) -> dict:
    return httpx.get(f"http://127.0.0.1:{port}/status", timeout=5).json()["parents"][0]


def _metric(port: int) -> str:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
    name = 'runqy_worker_repository_up{parent="inference"} '
    return next(line.removeprefix(name) for line in text.splitlines() if line.startswith(name))
