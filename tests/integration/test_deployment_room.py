"""A disk that is full is named, and so is memory that ran out, while task code is put in place."""

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from appliance.deploy.failures import DISK_FULL, OUT_OF_MEMORY
from appliance.errors import DeploymentRejected, OutOfRoom
from tests.integration import deploying
from tests.integration.deploying import Rig

#: Does not get smaller by being compressed.
LARGE = os.urandom(3 * 1024 * 1024).hex()


@pytest.fixture
def small_disk(rig: Rig) -> Iterator[Callable[[int], None]]:
    """Puts the deployment on a disk of so many MiB; mounting one takes privileges."""

    def mount(size_mib: int) -> None:
        rig.deployment.mkdir()
        argv = ["/bin/mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "none", str(rig.deployment)]
        if subprocess.run(argv, capture_output=True, check=False).returncode:
            pytest.skip("a disk cannot be mounted here")

    yield mount
    if rig.deployment.is_mount():
        subprocess.run(["/bin/umount", str(rig.deployment)], check=True)


def test_a_clone_that_does_not_fit_is_refused_naming_the_disk(
    rig: Rig, small_disk: Callable[[int], None]
) -> None:
    small_disk(2)

    with pytest.raises(OutOfRoom, match=r"^a disk is full: make room where RUNQY_DEPLOYMENT_DIR"):
        rig.deploy(rig.repo(main_py=LARGE).url)


def test_a_worker_with_good_code_goes_on_when_the_newest_does_not_fit(
    rig: Rig, small_disk: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    deploying.without_environment(monkeypatch)
    small_disk(2)
    repo = rig.repo(main_py="print()\n")
    first = rig.deploy(repo.url)
    repo.commit({"main.py": LARGE})

    again = rig.deploy(repo.url)

    assert again.commit == first.commit
    assert rig.text() == "print()\n"
    assert again.repository_problem.startswith("a disk is full")


def test_packages_that_do_not_fit_are_refused_naming_the_disk(
    rig: Rig, small_disk: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    deploying.with_uv(rig, monkeypatch)
    small_disk(2)
    rig.wheel("tiny", padding=LARGE)

    with pytest.raises(OutOfRoom) as refused:
        rig.deploy(rig.repo(main_py="", requirements_txt="tiny\n").url)

    assert str(refused.value).startswith(DISK_FULL)


def test_an_installer_that_was_killed_is_told_by_memory(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    deploying.with_uv(rig, monkeypatch)
    real = (rig.bin / "uv").resolve()
    (rig.bin / "uv").unlink()
    (rig.bin / "uv").write_text(f'#!/bin/sh\n[ "$1" = pip ] && kill -9 $$\nexec {real} "$@"\n')
    (rig.bin / "uv").chmod(0o755)
    rig.wheel("tiny")

    with pytest.raises(DeploymentRejected) as refused:
        rig.deploy(rig.repo(main_py="", requirements_txt="tiny\n").url)

    assert str(refused.value).startswith(OUT_OF_MEMORY)
