"""Files in Git LFS are deployed with their content, or it is said that they are not."""

import hashlib
import shutil

import pytest

from appliance.errors import DeploymentError
from harness.sandbox.repo import GitRepo
from tests.integration import deploying
from tests.integration.deploying import Rig
from tests.integration.private_git import private_host

CONTENT = "weights of a model\n" * 100
_LFS = shutil.which("git-lfs")


@pytest.fixture(autouse=True)
def code_only(monkeypatch: pytest.MonkeyPatch) -> None:
    deploying.without_environment(monkeypatch)


@pytest.fixture
def repo(rig: Rig) -> GitRepo:
    """A repository with one file in Git LFS: a pointer in the commit, and the content beside it."""
    digest = hashlib.sha256(CONTENT.encode()).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(CONTENT)}\n"
    repo = rig.repo(main_py="print()\n")
    repo.commit(
        {".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "task/model.bin": pointer}, "model"
    )
    kept = repo.folder / "lfs" / "objects" / digest[:2] / digest[2:4] / digest
    kept.parent.mkdir(parents=True)
    kept.write_text(CONTENT)
    return repo


def _install_lfs(rig: Rig) -> None:
    if _LFS is None:
        pytest.skip("git-lfs is not installed")
    (rig.bin / "git-lfs").symlink_to(_LFS)


@pytest.mark.parametrize("code_path", [None, "task"])
def test_without_git_lfs_pointers_are_deployed_and_named(
    rig: Rig, repo: GitRepo, code_path: str | None
) -> None:
    deployed = rig.deploy(repo.url, spec={"code_path": code_path})

    assert rig.text("task/model.bin").startswith("version https://git-lfs")
    assert deployed.notes == ("1 files are only pointers to content in Git LFS: git-lfs is not installed",)
    (event,) = rig.logged("deploy.lfs_pointers")
    assert (event["log_level"], event["parent"], event["files"]) == ("warning", deploying.PARENT, 1)
    assert event["first"] == "task/model.bin"


def test_a_machine_that_requires_the_filter_but_lacks_it_does_not_end_in_gits_words(
    rig: Rig, repo: GitRepo
) -> None:
    (rig.folder / "home" / ".gitconfig").write_text(
        '[filter "lfs"]\n\tprocess = git-lfs filter-process\n\trequired = true\n'
    )

    assert "git-lfs is not installed" in rig.deploy(repo.url).notes[0]


@pytest.mark.parametrize("code_path", [None, "task"])
def test_with_git_lfs_the_content_is_deployed(rig: Rig, repo: GitRepo, code_path: str | None) -> None:
    _install_lfs(rig)

    deployed = rig.deploy(repo.url, spec={"code_path": code_path})

    assert rig.text("task/model.bin") == CONTENT
    assert deployed.notes == ()


@pytest.mark.parametrize(("attributes", "starts"), [("*.bin -text\n", 0), ("*.bin filter=lfs\n", 1)])
def test_git_lfs_is_only_asked_where_attributes_name_it(rig: Rig, attributes: str, starts: int) -> None:
    calls = rig.folder / "lfs-calls"
    (rig.bin / "git-lfs").write_text(f"#!/bin/sh\necho $1 >> {calls}\n")
    (rig.bin / "git-lfs").chmod(0o755)
    repo = rig.repo(main_py="print()\n")
    # Neither the folder's nor the text's own words are what counts.
    repo.commit({"models/.gitattributes": attributes, "lfs.txt": "filter=lfs\n"}, "attributes")

    rig.deploy(repo.url)

    assert (calls.read_text().split() if calls.exists() else []) == ["fetch"] * starts


@pytest.mark.parametrize("code_path", [None, "task"])
def test_content_comes_from_where_the_commit_says(rig: Rig, repo: GitRepo, code_path: str | None) -> None:
    _install_lfs(rig)
    rig.deploy(rig.repo("empty").url)
    elsewhere = rig.folder / "contents.git"
    shutil.copytree(repo.folder, elsewhere)
    shutil.rmtree(repo.folder / "lfs")
    repo.commit({".lfsconfig": f"[lfs]\n\turl = file://{elsewhere}\n"}, "contents are elsewhere")

    rig.deploy(repo.url, spec={"code_path": code_path})

    assert rig.text("task/model.bin") == CONTENT


def test_pointers_of_an_earlier_start_become_content_once_git_lfs_is_installed(
    rig: Rig, repo: GitRepo
) -> None:
    rig.deploy(repo.url)
    _install_lfs(rig)

    deployed = rig.deploy(repo.url)

    assert rig.text("task/model.bin") == CONTENT
    assert deployed.notes == ()
    before = (rig.clone / "task/model.bin").stat().st_mtime_ns
    rig.deploy(repo.url)
    assert (rig.clone / "task/model.bin").stat().st_mtime_ns == before, "it is up to date now"


def _commit_without_content(repo: GitRepo) -> None:
    missing = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 5\n"
    repo.commit({"task/model.bin": missing}, "a model that Git LFS does not give")


def test_content_that_is_not_given_does_not_stop_a_worker_that_has_good_code(rig: Rig, repo: GitRepo) -> None:
    _install_lfs(rig)
    commit = rig.deploy(repo.url).commit
    _commit_without_content(repo)

    deployed = rig.deploy(repo.url)

    assert deployed.commit == commit
    assert rig.text("task/model.bin") == CONTENT
    assert f"commit {commit} of an earlier start is used" in deployed.repository_problem


def test_content_that_is_not_given_ends_a_first_start(rig: Rig, repo: GitRepo) -> None:
    _install_lfs(rig)
    _commit_without_content(repo)

    with pytest.raises(DeploymentError, match=r"git .*lfs fetch"):
        rig.deploy(repo.url)


def test_content_behind_a_login_comes_with_the_credentials_of_the_repository(rig: Rig, repo: GitRepo) -> None:
    """Git LFS asks git for them, for the API of its server and again for each content."""
    _install_lfs(rig)
    with private_host(repo, "right-token") as host:
        deployed = rig.deploy(host.url(), "right-token")

    assert rig.text("task/model.bin") == CONTENT
    assert deployed.notes == ()
    assert [line.partition("/")[0] for line in host.lfs] == ["POST objects", "GET content"]
    assert {password for _, password in host.asked} == {"right-token"}
    # and they are in no file of the clone
    config = [path.read_text() for path in rig.deployment.rglob("config") if path.is_file()]
    assert config
    assert not any("right-token" in text for text in config)
