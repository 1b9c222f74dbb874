"""What the image is made of, and what it leaves out."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.image.engine import ROOT, Engine

pytestmark = [pytest.mark.image, pytest.mark.timeout(1500)]

#: A shell's answer to "which of these can this Python import?".
WHICH_IMPORT = """
for module in {modules}; do
    if {python} -c "import $module" 2>/dev/null; then echo "$module"; fi
done
"""
WORKER_MODULES = "appliance gevent redis structlog httpx psutil yaml environs"


def importable(engine: Engine, container: str, python: str, modules: str) -> list[str]:
    return engine.sh(container, WHICH_IMPORT.format(python=python, modules=modules)).split()


@pytest.mark.parametrize("tool", ["git", "ssh", "uv", "tini", "python", "python3", "runqy-appliance"])
def test_what_a_deployment_needs_is_on_path(engine: Engine, idle: str, tool: str) -> None:
    assert engine.sh(idle, f"command -v {tool}").strip()


@pytest.mark.parametrize("tool", ["gcc", "cc", "g++", "ld", "make", "redis-server", "runqy-harness"])
def test_what_an_attacker_or_nobody_needs_is_not_there(engine: Engine, idle: str, tool: str) -> None:
    assert engine.sh(idle, f"command -v {tool} || echo absent").strip() == "absent"


def test_uv_and_python_run(engine: Engine, idle: str) -> None:
    assert engine.sh(idle, "uv --version").startswith("uv ")
    assert engine.sh(idle, "python --version") == engine.sh(idle, "python3 --version")


def test_the_base_python_sees_none_of_the_workers_packages(engine: Engine, idle: str) -> None:
    # when the base's Python and, to show that the question can be answered yes, the worker's own are asked
    of_base = importable(engine, idle, "python3", WORKER_MODULES)
    of_worker = importable(engine, idle, "/opt/runqy/venv/bin/python", WORKER_MODULES)

    # then
    assert of_base == []
    assert of_worker == WORKER_MODULES.split()


def test_the_worker_sees_nothing_of_the_base(engine: Engine, image: str) -> None:
    # given a package in the base
    container = engine.start("--user", "0", image, "sleep", "infinity")
    put_package_into_base(engine, container)

    # then the base's Python sees it and the worker's does not, which also has no installer of its own
    assert importable(engine, container, "python3", "of_the_base") == ["of_the_base"]
    assert (
        importable(engine, container, "/opt/runqy/venv/bin/python", "of_the_base pip setuptools harness")
        == []
    )


def put_package_into_base(engine: Engine, container: str) -> None:
    engine.sh(
        container,
        "folder=$(python3 -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))')"
        '; mkdir -p "$folder"; echo "NAME = 1" >"$folder/of_the_base.py"',
    )


@pytest.mark.parametrize("maker", ["python3 -m venv --without-pip", "uv venv --quiet --python python3"])
def test_task_code_inherits_the_bases_packages_when_asked_to_and_never_the_workers(
    engine: Engine, image: str, maker: str
) -> None:
    # given a package in the base
    container = engine.start("--user", "0", image, "sleep", "infinity")
    put_package_into_base(engine, container)

    # when an environment inherits, and another does not
    engine.sh(container, f"{maker} --system-site-packages /tmp/inherits; {maker} /tmp/isolated")

    # then
    modules = f"of_the_base {WORKER_MODULES}"
    assert importable(engine, container, "/tmp/inherits/bin/python", modules) == ["of_the_base"]
    assert importable(engine, container, "/tmp/isolated/bin/python", modules) == []


def test_labels_say_what_the_image_is(engine: Engine, image: str) -> None:
    labels = json.loads(engine.inspect(image, "{{json .Config.Labels}}"))
    prefix = "org.opencontainers.image."
    own = {name.removeprefix(prefix): value for name, value in labels.items() if name.startswith(prefix)}

    assert own["title"] == "runqy-appliance"
    assert own["licenses"] == "MIT"
    assert own["version"] == engine.run(image, "version").stdout.split()[-1]
    assert own["base.name"]
    assert own["revision"]


def test_the_image_declares_how_it_is_run_and_stopped(engine: Engine, image: str) -> None:
    config = json.loads(engine.inspect(image, "{{json .Config}}"))

    assert config["User"] == "10001:0"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] == ["/usr/local/bin/entrypoint.sh"]
    assert config["Cmd"] == ["run"]
    assert config["Healthcheck"]["Test"] == ["CMD", "runqy-appliance", "health"]
    assert list(config["ExposedPorts"]) == ["8686/tcp"]


def test_a_container_leaves_no_volume_behind(engine: Engine, image: str) -> None:
    # A volume that the image declares is there when its container is gone, unless that was asked for.
    container = engine.start(image, "true")
    mounts = json.loads(engine.inspect(container, "{{json .Mounts}}"))
    engine.docker("rm", "--force", container)

    assert mounts == []


def test_it_adds_less_than_200_mb_to_its_base(engine: Engine, image: str) -> None:
    labels = json.loads(engine.inspect(image, "{{json .Config.Labels}}"))
    base = labels["org.opencontainers.image.base.name"]
    added_mb = (int(engine.inspect(image, "{{.Size}}")) - int(engine.inspect(base, "{{.Size}}"))) / 1e6

    assert 50 < added_mb < 200


@pytest.mark.parametrize("name", ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_CACHE_DIR", "HTTP_PROXY"])
def test_the_image_does_not_tell_where_its_packages_came_from(engine: Engine, image: str, name: str) -> None:
    history = engine.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image).stdout
    environment = engine.inspect(image, "{{json .Config.Env}}")

    assert "RUNQY_DEPLOYMENT_DIR" in history + environment
    assert name not in (history + environment).upper()


@pytest.mark.parametrize(
    "folder",
    [
        "/src",
        "/opt/tools",
        "/var/lib/apt/lists",
        "/var/cache/apt",
        "/root/.cache",
        "/tmp",
        "/var/lib/runqy",
        "/state",
    ],
)
def test_nothing_of_how_the_image_was_built_stays_in_it(engine: Engine, idle: str, folder: str) -> None:
    found = engine.docker("exec", "--user", "0", idle, "find", folder, "-type", "f", check=False)

    assert found.stdout == ""
    assert found.stderr == "" or "No such file" in found.stderr


#: Every file of the image that lends who runs it the rights of another user, or capabilities.
LENDERS = """
import os, stat
home = os.stat("/").st_dev
for folder, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.lstat(os.path.join(folder, name)).st_dev == home]
    for name in files:
        path = os.path.join(folder, name)
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_dev != home:
            continue
        if found.st_mode & 0o6000 or "security.capability" in os.listxattr(path):
            print(path)
"""


def test_no_program_lends_the_rights_of_another_user(engine: Engine, image: str) -> None:
    run = ("--user", "0", "--entrypoint", "python3", image, "-c")

    assert engine.run(*run, LENDERS).stdout.split() == []
    # What is looked for is found where it is.
    there = "import os; os.chmod('/usr/bin/tini', 0o4755)\n" + LENDERS
    assert engine.run(*run, there).stdout.split() == ["/usr/bin/tini"]


def test_the_bill_of_materials_has_every_package_of_the_image(
    engine: Engine, image: str, tmp_path: Path
) -> None:
    bill = tmp_path / "sbom.json"
    subprocess.run([sys.executable, ROOT / ".ci" / "sbom.py", bill, image], check=True, cwd=ROOT)

    listed = json.loads(bill.read_text())["components"]
    shown = engine.run("--entrypoint", "dpkg-query", image, "-W", "-f", "${Package} ${Version}\\n").stdout
    debian = {f"{item['name']} {item['version']}" for item in listed if item["purl"].startswith("pkg:deb/")}
    assert debian == set(shown.splitlines())
    assert {"git", "libc6", "openssh-client", "tini"} <= {entry.split()[0] for entry in debian}
    inside = engine.run("--entrypoint", "/opt/runqy/venv/bin/python", image, "-c", DISTRIBUTIONS).stdout
    python = {item["name"]: item["version"] for item in listed if item["purl"].startswith("pkg:pypi/")}
    assert set(inside.splitlines()) <= {f"{name} {version}" for name, version in python.items()}
    assert any(item["name"] == "python" for item in listed)
    first = bill.read_bytes()
    subprocess.run([sys.executable, ROOT / ".ci" / "sbom.py", bill, image], check=True, cwd=ROOT)
    assert bill.read_bytes() == first


def test_the_image_says_which_base_it_was_made_of(engine: Engine, image: str) -> None:
    digest = engine.inspect(image, '{{index .Config.Labels "org.opencontainers.image.base.digest"}}')

    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)


#: The worker's packages but for itself, named as indexes name them.
DISTRIBUTIONS = """
import re
from importlib.metadata import distributions
for each in distributions():
    name = re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower()
    if name != "runqy-appliance":
        print(name, each.version)
"""
