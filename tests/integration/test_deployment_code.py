"""Task code: cloned, brought to the remote's tip, repaired, and never at the cost of what is not ours."""

import itertools
import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import gevent
import pytest

from appliance.control.contract import DeploymentSpec
from appliance.deploy.slots import Uses
from appliance.errors import DeploymentError, DeploymentRejected, DeploymentUnavailable
from harness import wait
from harness.sandbox.repo import make_repo
from tests.integration import deploying
from tests.integration.deploying import Rig

#: What there is of a deployment, beside its code: nothing else is left.
WHOLE = {"inference", *(f".inference.{what}" for what in ("cache", "lock", "venv", "worker"))}


@pytest.fixture(autouse=True)
def code_only(monkeypatch: pytest.MonkeyPatch) -> None:
    deploying.without_environment(monkeypatch)


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def away(rig: Rig, url: str) -> None:
    """The remote's host does not answer: its repository is where nothing listens."""
    record = rig.kept / "checkout.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"url": url}))


def test_a_branch_is_cloned_without_its_history(rig: Rig) -> None:
    repo = rig.repo(main_py="old")
    repo.commit({"main.py": "new", "lib/util.py": "util"})

    deployed = rig.deploy(repo.url)

    assert deployed.commit == repo.head
    assert deployed.code_dir == rig.clone
    assert deployed.notes == ()
    assert rig.text() == "new"
    assert rig.files() == {"main.py", "lib/util.py"}
    assert rig.git("rev-list", "--count", "HEAD") == "1"
    done = rig.logged("deploy.done")[-1]
    assert (done["parent"], done["commit"]) == (deploying.PARENT, repo.head)


def test_a_tag_is_cloned_whatever_its_kind(rig: Rig) -> None:
    repo = rig.repo(main_py="tagged")
    repo.tag("v1")
    tagged = repo.head
    identity = ("-c", "user.name=n", "-c", "user.email=e")
    git(repo.folder, *identity, "tag", "-a", "-m", "annotated", "v1.1", repo.head)
    repo.commit({"main.py": "later"})

    for tag in ("v1", "v1.1"):
        assert rig.deploy(repo.url, spec={"branch": tag}).commit == tagged
        assert rig.text() == "tagged"


def test_a_branch_that_is_an_annotated_tag_is_up_to_date_where_its_commit_is_there(rig: Rig) -> None:
    repo = rig.repo(main_py="tagged")
    identity = ("-c", "user.name=n", "-c", "user.email=e")
    git(repo.folder, *identity, "tag", "-a", "-m", "annotated", "v1.1", repo.head)
    spec = {"branch": "v1.1", "git_url": repo.url, "startup_cmd": "python main.py"}
    first, second = Uses(), Uses()

    # The second worker of the folder: what the first runs from must not change, and need not.
    for uses in (first, second):
        deployed = rig.deployer().deploy("inference", DeploymentSpec(**spec), None, uses)
        assert deployed.code_dir == rig.clone

    assert rig.logged("deploy.slot_in_use") == []
    for uses in (first, second):
        uses.keep_only(set())


def test_a_branch_wins_over_a_tag_of_its_name(rig: Rig) -> None:
    repo = rig.repo(main_py="tagged")
    repo.tag("main")
    repo.commit({"main.py": "later"})

    rig.deploy(repo.url)

    assert rig.text() == "later"


def test_a_moved_branch_is_followed_and_only_the_difference_is_written(rig: Rig) -> None:
    repo = rig.repo(main_py="one", same_py="same")
    rig.deploy(repo.url)
    before = (rig.clone / "same.py").stat()
    second = repo.commit({"main.py": "two", "more.py": "more"})

    deployed = rig.deploy(repo.url)

    assert deployed.commit == second
    assert rig.text() == "two"
    assert rig.text("more.py") == "more"
    assert (rig.clone / "same.py").stat().st_mtime_ns == before.st_mtime_ns
    assert rig.steps("code") == ["clone", "update"]


def test_a_force_push_is_followed(rig: Rig) -> None:
    repo = rig.repo(main_py="one")
    repo.commit({"main.py": "two", "gone.py": "gone"})
    rig.deploy(repo.url)
    other = make_repo(rig.folder / "other.git", {"main.py": "rewritten"})
    git(other.folder, "push", "--quiet", "--force", repo.url, "main")

    deployed = rig.deploy(repo.url)

    assert deployed.commit == other.head
    assert rig.files() == {"main.py"}
    assert rig.text() == "rewritten"
    assert rig.steps("code") == ["clone", "update"]


def test_another_branch_is_an_update_and_another_url_is_another_clone(rig: Rig) -> None:
    repo, other = rig.repo(main_py="main"), rig.repo("other", main_py="other")
    git(repo.folder, "branch", "release/1.x")
    repo.commit({"main.py": "newer"})

    rig.deploy(repo.url)
    rig.deploy(repo.url, spec={"branch": "release/1.x"})
    assert rig.text() == "main"
    rig.deploy(other.url)
    assert rig.text() == "other"

    assert rig.steps("code") == ["clone", "update", "clone"]


def test_a_branch_that_is_not_there_is_named_and_not_asked_for_again(rig: Rig) -> None:
    repo = rig.repo()

    with pytest.raises(DeploymentRejected, match=r"no branch or tag 'nope'"):
        rig.deploy(repo.url, spec={"branch": "nope"}, retries=3)

    assert rig.logged("deploy.attempt_failed") == []


def test_of_a_code_path_only_its_folder_is_there_and_fetched(rig: Rig) -> None:
    repo = rig.repo(
        root_py="root", **{"tasks__a__main_py": "a", "tasks__b__main_py": "b", "deep__tasks__a__x_py": "x"}
    )

    deployed = rig.deploy(repo.url, spec={"code_path": "tasks/a"})

    assert deployed.code_dir == rig.clone / "tasks" / "a"
    assert rig.files() == {"tasks/a/main.py"}
    missing = rig.git("rev-list", "--objects", "--missing=print", "HEAD").splitlines()
    assert len([line for line in missing if line.startswith("?")]) == 3


def test_a_server_without_filters_is_asked_for_no_single_file(rig: Rig) -> None:
    repo = rig.repo(root_py="root", a__main_py="a")
    for setting in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        git(repo.folder, "config", setting, "false")

    rig.deploy(repo.url, spec={"code_path": "a"})
    repo.commit({"a/main.py": "aa"})
    rig.deploy(repo.url, spec={"code_path": "a"})

    assert rig.text("a/main.py") == "aa"
    asked = [entry["command"] for entry in rig.logged("deploy.command") if " fetch " in entry["command"]]
    assert len(asked) == 2


def test_a_changed_code_path_brings_the_other_folder_and_leaves_none_of_the_first(rig: Rig) -> None:
    repo = rig.repo(a__main_py="a", b__main_py="b")

    rig.deploy(repo.url, spec={"code_path": "a"})
    rig.deploy(repo.url, spec={"code_path": "./b/"})
    assert rig.files() == {"b/main.py"}
    rig.deploy(repo.url, spec={"code_path": None})

    assert rig.files() == {"a/main.py", "b/main.py"}


def test_a_sparse_clone_is_updated(rig: Rig) -> None:
    repo = rig.repo(a__main_py="one", b__main_py="b")
    rig.deploy(repo.url, spec={"code_path": "a"})
    repo.commit({"a/main.py": "two", "a/more.py": "more", "b/more.py": "not ours"})

    rig.deploy(repo.url, spec={"code_path": "a"})

    assert rig.files() == {"a/main.py", "a/more.py"}
    assert rig.text("a/main.py") == "two"


@pytest.mark.parametrize("code_path", ["a b", "sp[ec]ial*", "#hash", "!bang", "ünï"])
def test_a_code_path_is_a_name_and_not_a_pattern(rig: Rig, code_path: str) -> None:
    repo = make_repo(rig.folder / "odd.git", {f"{code_path}/main.py": "odd", "specialx/main.py": "x"})

    deployed = rig.deploy(repo.url, spec={"code_path": code_path})

    assert (deployed.code_dir / "main.py").read_text() == "odd"
    assert rig.files() == {f"{code_path}/main.py"}


@pytest.mark.parametrize("code_path", ["missing", "main.py"])
def test_a_code_path_that_is_no_folder_is_named_with_the_branch(rig: Rig, code_path: str) -> None:
    repo = rig.repo()

    with pytest.raises(DeploymentRejected, match=rf"code_path: .* no folder '{code_path}' at main"):
        rig.deploy(repo.url, spec={"code_path": code_path})


def test_a_link_does_not_lead_out_of_the_clone(rig: Rig) -> None:
    repo = rig.repo()
    outside = rig.folder / "outside"
    outside.mkdir()
    work = rig.folder / "work"
    git(rig.folder, "clone", "--quiet", repo.url, str(work))
    (work / "link").symlink_to(outside)
    repo.commit_folder(work, "a link")

    with pytest.raises(DeploymentRejected, match="no folder 'link'"):
        rig.deploy(repo.url, spec={"code_path": "link"})


def test_without_an_earlier_clone_an_unreachable_remote_is_asked_again_and_then_given_up(rig: Rig) -> None:
    with pytest.raises(DeploymentUnavailable, match=r"(?s)git .*ls-remote.*refused|connect"):
        rig.deploy("http://127.0.0.1:1/code.git", retries=2)

    assert [entry["attempt"] for entry in rig.logged("deploy.attempt_failed")] == [1, 2]


def test_with_an_earlier_clone_the_worker_goes_on_with_it_and_says_so(rig: Rig) -> None:
    repo = rig.repo()
    first = rig.deploy(repo.url)
    away(rig, "http://127.0.0.1:1/code.git")

    deployed = rig.deploy("http://127.0.0.1:1/code.git", retries=1)

    assert deployed.commit == first.commit
    assert "cannot be reached" in deployed.notes[0]
    assert first.commit in deployed.notes[0]
    assert rig.logged("deploy.repository_unavailable")[0]["commit"] == first.commit
    assert len(rig.logged("deploy.attempt_failed")) == 1


def test_what_broke_off_is_mended_while_the_remote_is_away(rig: Rig) -> None:
    repo = rig.repo(main_py="one")
    rig.deploy(repo.url)
    away(rig, "http://127.0.0.1:1/code.git")
    (rig.git_dir / "index.lock").touch()
    (rig.clone / "main.py").write_text("half wri")

    deployed = rig.deploy("http://127.0.0.1:1/code.git")

    assert deployed.commit == repo.head
    assert rig.text() == "one"


@pytest.mark.parametrize(
    "changed", [{"branch": "other"}, {"code_path": "a"}, {"git_url": "http://127.0.0.1:1/other.git"}]
)
def test_an_earlier_clone_of_something_else_is_no_substitute(rig: Rig, changed: dict[str, str]) -> None:
    repo = rig.repo()
    rig.deploy(repo.url)
    away(rig, "http://127.0.0.1:1/code.git")

    with pytest.raises(DeploymentUnavailable):
        rig.deploy("http://127.0.0.1:1/code.git", spec=changed)


def test_changed_and_deleted_files_come_back_and_other_files_stay(rig: Rig) -> None:
    repo = rig.repo(main_py="one", lib__util_py="util")
    rig.deploy(repo.url)
    (rig.clone / "main.py").write_text("meddled with")
    shutil.rmtree(rig.clone / "lib")
    (rig.clone / "model.bin").write_text("downloaded")

    rig.deploy(repo.url)

    assert rig.text() == "one"
    assert rig.text("lib/util.py") == "util"
    assert rig.text("model.bin") == "downloaded"
    assert rig.steps("code") == ["clone", "update"]


def test_a_file_in_the_way_of_a_new_one_is_replaced(rig: Rig) -> None:
    repo = rig.repo()
    rig.deploy(repo.url)
    (rig.clone / "data.txt").write_text("untracked")
    repo.commit({"data.txt": "tracked"})

    rig.deploy(repo.url)

    assert rig.text("data.txt") == "tracked"


@pytest.mark.parametrize("lock", ["index.lock", "shallow.lock", "HEAD.lock"])
def test_a_lock_of_a_killed_git_is_no_obstacle(rig: Rig, lock: str) -> None:
    repo = rig.repo()
    rig.deploy(repo.url)
    (rig.git_dir / lock).touch()
    repo.commit({"main.py": "two"})

    rig.deploy(repo.url)

    assert rig.text() == "two"
    assert rig.steps("code") == ["clone", "update"]
    assert rig.logged("deploy.recloned") == []


def _truncate_index(kept: Path) -> None:
    (kept / "git" / "index").write_bytes(b"DIRC")


def _drop_objects(kept: Path) -> None:
    shutil.rmtree(kept / "git" / "objects")


def _drop_head(kept: Path) -> None:
    (kept / "git" / "HEAD").unlink()


def _break_config(kept: Path) -> None:
    (kept / "git" / "config").write_text("[core\n\x00")


def _break_record(kept: Path) -> None:
    (kept / "checkout.json").write_text('{"url": ')


def _drop_kept(kept: Path) -> None:
    shutil.rmtree(kept / "git")


@pytest.mark.parametrize(
    "damage", [_truncate_index, _drop_objects, _drop_head, _break_config, _break_record, _drop_kept]
)
def test_a_damaged_clone_is_made_anew(rig: Rig, damage: Any) -> None:
    repo = rig.repo(main_py="one")
    rig.deploy(repo.url)
    damage(rig.kept)
    repo.commit({"main.py": "two"})

    deployed = rig.deploy(repo.url)

    assert deployed.commit == repo.head
    assert rig.text() == "two"
    assert rig.git("status", "--porcelain", "--untracked-files=no") == ""


def test_a_folder_that_no_worker_made_is_moved_aside_and_not_deleted(rig: Rig) -> None:
    repo = rig.repo(main_py="one")
    rig.clone.mkdir(parents=True)
    (rig.clone / "thesis.txt").write_text("the only copy")

    deployed = rig.deploy(repo.url)

    assert rig.text() == "one"
    assert (rig.deployment / "inference.before" / "thesis.txt").read_text() == "the only copy"
    assert "inference.before" in deployed.notes[0]


def test_the_repository_around_the_deployment_folder_is_never_touched(rig: Rig) -> None:
    repo = rig.repo(main_py="one")
    rig.deployment.mkdir()
    git(rig.deployment, "init", "--quiet")
    # With this in reach, git would fail: it must not even read it.
    (rig.deployment / ".git" / "config").write_text("[core\n")
    before = {path: path.stat().st_mtime_ns for path in (rig.deployment / ".git").rglob("*")}

    rig.deploy(repo.url)
    (rig.git_dir / "HEAD").write_text("nonsense")
    repo.commit({"main.py": "two"})
    rig.deploy(repo.url)

    assert rig.text() == "two"
    assert {path: path.stat().st_mtime_ns for path in (rig.deployment / ".git").rglob("*")} == before


def test_the_repository_that_the_environment_names_is_never_touched(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, enclosing = rig.repo(main_py="one"), rig.repo("enclosing")
    before = {path: path.stat().st_mtime_ns for path in enclosing.folder.rglob("*")}
    settings = {
        "GIT_DIR": str(enclosing.folder),
        "GIT_WORK_TREE": str(rig.folder),
        "GIT_INDEX_FILE": str(rig.folder / "index"),
        "GIT_OBJECT_DIRECTORY": str(enclosing.folder / "objects"),
        "GIT_CONFIG": str(enclosing.folder / "config"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    rig.deploy(repo.url, spec={"code_path": None})
    repo.commit({"main.py": "two"})
    rig.deploy(repo.url)

    for name in settings:
        monkeypatch.delenv(name)
    assert rig.text() == "two"
    assert {path: path.stat().st_mtime_ns for path in enclosing.folder.rglob("*")} == before


def test_hooks_of_the_machine_do_not_run(rig: Rig) -> None:
    repo = rig.repo()
    hooks = rig.folder / "hooks"
    hooks.mkdir()
    (hooks / "post-checkout").write_text(f"#!/bin/sh\nenv > {rig.folder}/leak\n")
    (hooks / "post-checkout").chmod(0o755)
    (rig.folder / "home" / ".gitconfig").write_text(f"[core]\n\thooksPath = {hooks}\n")

    rig.deploy(repo.url)

    assert not (rig.folder / "leak").exists()


def test_a_deployment_folder_that_cannot_be_made_is_named_with_its_variable(rig: Rig) -> None:
    rig.deployment.write_text("a file")

    with pytest.raises(DeploymentRejected, match=rf"RUNQY_DEPLOYMENT_DIR: {rig.deployment}"):
        rig.deploy(rig.repo().url)


def test_submodules_are_left_out_and_noted(rig: Rig) -> None:
    repo = rig.repo()
    repo.commit({".gitmodules": '[submodule "x"]\n\tpath = x\n\turl = ./x\n'})

    assert "submodules" in rig.deploy(repo.url).notes[0]


def test_workers_that_deploy_into_one_folder_at_once_wait_for_each_other_and_all_succeed(rig: Rig) -> None:
    repo = rig.repo(**{f"f{n}_py": f"text {n}\n" for n in range(50)})

    with rig.gated_git("fetch") as let_go:
        first = rig.start(repo.url, code_only=True)
        wait.until((rig.folder / "there").exists, 180, "the first to fetch")
        second = gevent.spawn(rig.deploy, repo.url)
        wait.until(lambda: rig.logged("deploy.waiting_for_lock"), 180, "the second to wait")
        third = rig.start(repo.url, code_only=True)
        let_go()
        said = [first.communicate(timeout=180)[0], third.communicate(timeout=180)[0]]

    assert second.get(timeout=180).commit == repo.head
    assert (first.returncode, third.returncode) == (0, 0), said
    assert all(text.strip().endswith(repo.head) for text in said)
    assert rig.steps("code") == ["update"]
    assert "step=clone" in said[0]
    assert len(rig.files()) == 50
    assert rig.git("status", "--porcelain") == "?? .venv"


@pytest.mark.parametrize(
    ("kind", "moment"),
    [
        ("first", "ls-remote"),
        ("first", "init"),
        ("first", "fetch"),
        ("first", "checkout"),
        ("second", "ls-remote"),
        ("second", "fetch"),
        ("second", "checkout"),
    ],
)
def test_a_worker_killed_while_git_runs_leaves_nothing_that_the_next_cannot_mend(
    rig: Rig, kind: str, moment: str
) -> None:
    repo = rig.repo(**{f"f{n}_py": f"text {n}\n" for n in range(50)})
    if kind == "second":
        rig.deploy(repo.url)
        repo.commit({f"f{n}.py": f"other {n}\n" for n in range(40)})
    with rig.gated_git(moment, then="exit 1") as let_go:
        killed = rig.start(repo.url, code_only=True)
        wait.until((rig.folder / "there").exists, 180, f"git {moment}")
        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=180)
        let_go()

    deployed = rig.deploy(repo.url)

    assert deployed.commit == repo.head
    assert len(rig.files()) == 50
    assert rig.git("status", "--porcelain") == "?? .venv"
    assert rig.left() == WHOLE


def test_a_worker_killed_while_files_are_written_leaves_a_mix_that_the_next_mends(rig: Rig) -> None:
    repo = rig.repo(**{f"f{n}_py": f"text {n}\n" for n in range(50)})
    rig.deploy(repo.url)
    repo.commit({f"f{n}.py": f"other {n}\n" for n in range(50)})
    half = f"printf half > {rig.clone}/f3.py; : > {rig.git_dir}/index.lock; exit 1"
    with rig.gated_git("checkout", then=half) as let_go:
        killed = rig.start(repo.url, code_only=True)
        wait.until((rig.folder / "there").exists, 180, "git checkout")
        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=180)
        let_go()
        wait.until((rig.git_dir / "index.lock").exists, 180, "the half of it")

    rig.deploy(repo.url)

    assert {rig.text(f"f{n}.py") for n in range(50)} == {f"other {n}\n" for n in range(50)}
    assert rig.steps("code") == ["clone", "update"]
    assert rig.logged("deploy.recloned") == []


@pytest.mark.parametrize("step", range(1, 5))
def test_a_worker_killed_while_it_exchanges_clones_leaves_nothing_that_the_next_cannot_mend(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    repo, other = rig.repo(main_py="one"), rig.repo("other", main_py="two")
    rig.deploy(repo.url)
    (rig.clone / "left-by-the-task").touch()
    renamed, rename = itertools.count(1), Path.rename

    def killed(path: Path, to: Path) -> Path:
        if path.parent == rig.deployment and next(renamed) == step:
            raise KeyboardInterrupt
        return rename(path, to)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            rig.deploy(other.url)

    deployed = rig.deploy(other.url)

    assert rig.text() == "two"
    assert rig.left() == WHOLE
    assert deployed.notes == ()


def test_a_deployment_of_an_earlier_version_is_replaced(rig: Rig) -> None:
    repo = rig.repo(main_py="one")
    git(rig.folder, "clone", "--quiet", repo.url, str(rig.clone))
    record = {"url": repo.url, "ref": "main", "code_path": "", "commit": repo.head}
    (rig.clone / ".git" / "runqy.json").write_text(json.dumps(record))
    (rig.clone / ".venv").mkdir()

    deployed = rig.deploy(repo.url)

    assert deployed.notes == ()
    assert not (rig.clone / ".git").exists()
    assert (rig.clone / ".venv").readlink() == rig.venv
    assert rig.left() == WHOLE


@pytest.mark.parametrize("parent", ["", "../x", "a/b", ".hidden", "-rf"])
def test_a_queue_whose_name_leads_elsewhere_is_refused(rig: Rig, parent: str) -> None:
    with pytest.raises(DeploymentError, match="cannot name a folder"):
        rig.deployer().deploy(parent, DeploymentSpec("https://x.test/r.git", "main", "python"), None)
    assert not rig.deployment.exists()


def test_a_start_command_that_cannot_work_is_refused_at_deployment_and_not_by_five_restarts(
    rig: Rig,
) -> None:
    repo = rig.repo(run_sh="#!/bin/sh\nexec python main.py\n")

    with pytest.raises(DeploymentRejected, match=r"startup_cmd: \./run\.sh is not executable"):
        rig.deploy(repo.url, spec={"startup_cmd": "./run.sh"})
    with pytest.raises(DeploymentRejected, match=r"startup_cmd: cd is a command of shells"):
        rig.deploy(repo.url, spec={"startup_cmd": "cd src && python main.py"})

    odd = rig.deploy(repo.url, spec={"startup_cmd": "python main.py 2>&1"})
    assert "2>&1 is passed to the program as it stands" in odd.notes[0]
    assert rig.logged("deploy.odd_command")[0]["log_level"] == "warning"
