"""What of a folder becomes a commit that workers deploy: what git would have there, nothing it ignores."""

import os
import subprocess
from pathlib import Path

import pytest

from harness.dev.live.tell import files
from harness.sandbox import repo
from harness.sandbox.source import Snapshot


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))


def put(folder: Path, *names: str, text: str = "text\n") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=True)
    return done.stdout.decode(errors="replace")


def repository(folder: Path) -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet")
    return folder


def committed(folder: Path, tmp_path: Path) -> set[str]:
    return named(Snapshot(folder, tmp_path / "code.git"))


def named(snapshot: Snapshot) -> set[str]:
    names = git(snapshot.repo.folder, "ls-tree", "-r", "-z", "--name-only", snapshot.commit)
    return {*names.split("\0")} - {""}


@pytest.mark.parametrize("inner", [".", "tasks/one", "-tasks/ü b"])
def test_what_git_ignores_in_a_repository_is_in_no_commit_of_a_folder_in_it(
    inner: str, tmp_path: Path
) -> None:
    # given secrets that are ignored by each of the ways there are
    top = repository(tmp_path / "top")
    code = top / inner
    put(code, "main.py", ".env", "of-the-clone", "of-the-user", "own", "lib/deep/.env")
    put(top, ".gitignore", text=".env\n")
    put(top, ".git/info/exclude", text="of-the-clone\n")
    put(tmp_path / "home", ".config/git/ignore", text="of-the-user\n")
    put(code, "lib/.gitignore", text="nothing\n")
    put(code, "lib/x.py")
    if code != top:
        put(code, ".gitignore", text="own\n")
    else:
        put(code, ".gitignore", text=".env\nown\n")

    assert committed(code, tmp_path) == {"main.py", ".gitignore", "lib/.gitignore", "lib/x.py"}


def test_the_users_file_of_patterns_may_be_anywhere(tmp_path: Path) -> None:
    put(tmp_path / "home", ".gitconfig", text="[core]\n\texcludesFile = ~/patterns\n")
    put(tmp_path / "home", "patterns", text="secret\n")
    put(tmp_path / "code", "main.py", "secret")

    assert committed(tmp_path / "code", tmp_path) == {"main.py"}


def test_a_folder_that_is_ignored_as_a_whole_is_task_code_all_the_same(tmp_path: Path) -> None:
    top = repository(tmp_path / "top")
    put(top, ".gitignore", text="*\n")
    put(top / "code", "main.py", ".env")
    put(top / "code", ".gitignore", text=".env\n")

    assert committed(top / "code", tmp_path) == {"main.py", ".gitignore"}


@pytest.mark.parametrize("name", [".env", "in/*?[x] .env"])
def test_a_file_of_secrets_is_in_no_object_and_its_neighbours_are(name: str, tmp_path: Path) -> None:
    code = repository(tmp_path / "top") / "code"
    put(code, "main.py", "in/xx .env")
    put(code, name, text="secret")
    (tmp_path / "link").symlink_to(code)
    secret = tmp_path / "link" / name

    snapshot = Snapshot(code, tmp_path / "code.git", but=[secret, tmp_path / "elsewhere"])

    assert named(snapshot) == {"main.py", "in/xx .env"}
    assert "secret" not in git(snapshot.repo.folder, "cat-file", "--batch", "--batch-all-objects")
    put(code, name, text="another")
    assert snapshot.renew() == []


def test_names_may_be_any_bytes(tmp_path: Path) -> None:
    code = tmp_path / "code"
    put(code, "main.py")
    snapshot = Snapshot(code, tmp_path / "code.git")
    (code / os.fsdecode(b"\xff.py")).touch()

    assert files(snapshot.renew()).isprintable()


def test_a_folder_in_a_repository_may_be_empty_and_may_change(tmp_path: Path) -> None:
    code = repository(tmp_path / "top") / "code"
    code.mkdir()
    snapshot = Snapshot(code, tmp_path / "code.git")
    assert snapshot.renew() == []

    put(code, "main.py")
    put(tmp_path / "top", "elsewhere.py")

    assert snapshot.renew() == ["main.py"]


def test_a_clone_in_the_folder_is_left_out_whatever_it_is_called(tmp_path: Path) -> None:
    code = tmp_path / "code"
    clone = repository(code / "ü clone")
    put(clone, "a.py")
    git(clone, "add", ".")
    git(clone, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "first")
    put(code, "main.py")

    assert committed(code, tmp_path) == {"main.py"}


def test_a_git_that_takes_too_long_is_a_failure_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "code", "main.py")
    snapshot = Snapshot(tmp_path / "code", tmp_path / "code.git")
    monkeypatch.setattr(repo, "_TIMEOUT_S", 0)

    with pytest.raises(repo.GitFailed, match="not over within 0 s"):
        snapshot.repo.commit({"main.py": "other"})
