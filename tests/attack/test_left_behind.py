"""The attacker is task code that prepares the next start: what it leaves in its folders holds up nothing."""

import os
import tempfile
from pathlib import Path

import gevent
import pytest

from appliance.deploy.packages.indexes import Indexes, read_indexes
from appliance.deploy.start_command import check_script
from appliance.isolation import machine
from harness import wait
from harness.sandbox.repo import make_repo
from tests.integration import deploying
from tests.integration.deploying import Rig

#: Leaves a daemon that nothing but its mark tells from a stranger.
LEAVE_A_DAEMON = """
import os
ready, is_ready = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        pathlib.Path("PID").write_text(str(os.getpid()))
        os.write(is_ready, b"!")
        while True:
            os.read(os.pipe()[0], 1)
    os._exit(0)
os.read(ready, 1)
"""
#: More levels than Python calls itself.
LEVELS = 3000


@pytest.fixture
def code_only(monkeypatch: pytest.MonkeyPatch) -> None:
    deploying.without_environment(monkeypatch)


def _nest(folder: Path) -> None:
    """Folders in folders, deeper than a path can be long; one of them may not be written to."""
    outside = os.open(".", os.O_RDONLY)
    try:
        os.chdir(folder)
        for level in range(LEVELS):
            Path("d").mkdir()
            os.chdir("d")
            if level == LEVELS // 2:
                Path("file").touch()
        os.chdir("..")
        Path("d").chmod(0o500)
    finally:
        os.fchdir(outside)
        os.close(outside)


@pytest.mark.usefixtures("code_only")
def test_folders_nested_without_end_are_removed_with_the_clone(rig: Rig) -> None:
    first = make_repo(rig.folder / "first.git", {"main.py": "one"})
    second = make_repo(rig.folder / "second.git", {"main.py": "two"})
    rig.deploy(first.url)
    _nest(rig.clone)

    with gevent.Timeout(60):
        rig.deploy(second.url)

    assert rig.text() == "two"
    assert not (rig.clone / "d").exists()
    assert [path.name for path in rig.deployment.iterdir() if ".old" in path.name] == []


def test_folders_nested_without_end_are_swept_from_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    _nest(machine.make_temporary_folder("inference"))

    machine.sweep_temporary_folders()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("code_only")
def test_a_pipe_behind_a_tracked_link_is_not_waited_for(rig: Rig) -> None:
    repo = make_repo(rig.folder / "code.git", {"main.py": "one"})
    rig.deploy(repo.url)
    os.mkfifo(rig.clone / "pipe")
    work = rig.folder / "work"
    deploying.subprocess.run(["git", "clone", "--quiet", repo.url, work], check=True)
    (work / ".gitattributes").write_text("*.bin filter=lfs\n")
    (work / "model.bin").symlink_to("pipe")
    commit = repo.commit_folder(work, "a link")

    with gevent.Timeout(60):
        assert rig.deploy(repo.url).commit == commit


def test_pipes_in_the_place_of_settings_and_scripts_are_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / ".pip").mkdir()
    for name in (".pip/pip.conf", "run.sh"):
        os.mkfifo(tmp_path / name)

    assert read_indexes({"HOME": str(tmp_path)}, tmp_path / "none") == Indexes()
    check_script("./run.sh", tmp_path, None, {})
    check_script("sh run.sh", tmp_path, None, {})


def test_a_daemon_of_a_build_ends_and_holds_no_lock(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    deploying.with_uv(rig, monkeypatch)
    pid = rig.folder / "pid"
    files = deploying.built_by("evil", LEAVE_A_DAEMON.replace("PID", str(pid)))
    repo = make_repo(rig.folder / "code.git", {"main.py": "one", **files})

    rig.deploy(repo.url)

    process = Path("/proc", pid.read_text())
    wait.until(lambda: not process.exists() or " Z " in (process / "stat").read_text(), 60, "its end")
    with gevent.Timeout(120):
        rig.deploy(repo.url)
