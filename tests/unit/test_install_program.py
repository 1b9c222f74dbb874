"""With what the environment of this project is filled: uv, where pip is not told where packages come from."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PIP = """#!/bin/sh
case "$*" in
"-m pip config list") cat "{folder}/configured" ;;
*) echo "pip: $*" >>"{folder}/calls" ;;
esac
"""
UV = """#!/bin/sh
echo "uv: $* (${{SSL_CERT_FILE:-}})" >>"{folder}/calls"
exit {status}
"""


def calls(folder: Path, configured: str, uv_status: int = 0) -> list[str]:
    """What is run, in order, where pip is configured so."""
    (folder / "configured").write_text(configured)
    for name, script in {"python": PIP, "uv": UV}.items():
        (folder / name).write_text(script.format(folder=folder, status=uv_status))
        (folder / name).chmod(0o755)
    subprocess.run(
        [ROOT / ".ci" / "install", folder / "python", "--editable", ".[test]"],
        check=True,
        env={"PATH": "/usr/bin:/bin"},
        stdout=subprocess.DEVNULL,
    )
    return (folder / "calls").read_text().replace(str(folder), "").splitlines()


GETS_UV = "pip: -m pip install --quiet --disable-pip-version-check uv>=0.9"
BY_UV = "uv: pip install --quiet --python /python --editable .[test] ()"
BY_PIP = "pip: -m pip install --quiet --disable-pip-version-check --editable .[test]"


@pytest.mark.parametrize("configured", ["", ":env:.timeout='180'\nglobal.disable-pip-version-check='1'\n"])
def test_uv_does_it_where_pip_is_not_configured_or_says_nothing_of_where_from(
    tmp_path: Path, configured: str
) -> None:
    assert calls(tmp_path, configured) == [GETS_UV, BY_UV]


def test_uv_is_told_whom_to_trust_and_which_folders_hold_wheels(tmp_path: Path) -> None:
    configured = ":env:.cert='/our/ca.crt'\nglobal.cert='/other'\nglobal.find-links='/wheels /more'\n"
    assert calls(tmp_path, configured)[1:] == [
        "uv: pip install --quiet --python /python --find-links /wheels --find-links /more"
        " --editable .[test] (/our/ca.crt)"
    ]


@pytest.mark.parametrize(
    "configured",
    [
        "global.index-url='https://packages.our.example/simple'\n",
        ":env:.extra-index-url='https://packages.our.example/simple'\n:env:.cert='/our/ca.crt'\n",
        "install.constraint='/etc/constraints.txt'\n",
        "global.proxy='http://proxy:3128'\n",
    ],
)
def test_pip_does_it_where_it_is_configured_with_what_uv_would_not_know(
    tmp_path: Path, configured: str
) -> None:
    assert calls(tmp_path, configured) == [BY_PIP]


def test_pip_does_it_where_uv_fails(tmp_path: Path) -> None:
    assert calls(tmp_path, "", uv_status=2) == [GETS_UV, BY_UV, BY_PIP]
