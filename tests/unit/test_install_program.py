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
UV = r"""#!/bin/sh
echo "uv: $* ($(env | grep -E '^(SSL_CERT_FILE|UV_[A-Z_]*)=' | sort | tr '\n' ' '))" >>"{folder}/calls"
exit {status}
"""


def calls(folder: Path, configured: str, uv_status: int = 0, **variables: str) -> list[str]:
    """What is run, in order, where pip is configured so."""
    (folder / "configured").write_text(configured)
    for name, script in {"python": PIP, "uv": UV}.items():
        (folder / name).write_text(script.format(folder=folder, status=uv_status))
        (folder / name).chmod(0o755)
    subprocess.run(
        [ROOT / ".ci" / "install", folder / "python", "--editable", ".[test]"],
        check=True,
        env={"PATH": "/usr/bin:/bin", **variables},
        stdout=subprocess.DEVNULL,
    )
    return (folder / "calls").read_text().replace(str(folder), "").splitlines()


GETS_UV = "pip: -m pip install --quiet --disable-pip-version-check uv>=0.9"
OPTIONS = "--quiet --no-config --python /python --compile-bytecode --link-mode copy"
BY_UV = f"uv: pip install {OPTIONS} --editable .[test] ()"
BY_PIP = "pip: -m pip install --quiet --disable-pip-version-check --editable .[test]"


@pytest.mark.parametrize("configured", ["", ":env:.retries='9'\nglobal.disable-pip-version-check='1'\n"])
def test_uv_does_it_where_pip_is_not_configured_or_says_nothing_of_where_from(
    tmp_path: Path, configured: str
) -> None:
    assert calls(tmp_path, configured) == [GETS_UV, BY_UV]


def test_uv_is_told_whom_to_trust_how_long_to_wait_and_which_folders_hold_wheels(tmp_path: Path) -> None:
    configured = (
        ":env:.cert='/our/ca.crt'\nglobal.cert='/other'\n"
        ":env:.default-timeout='180'\nglobal.find-links='/wheels /more'\n"
    )
    assert calls(tmp_path, configured)[1:] == [
        f"uv: pip install {OPTIONS} --find-links /wheels --find-links /more --editable .[test]"
        " (SSL_CERT_FILE=/our/ca.crt UV_HTTP_TIMEOUT=180 )"
    ]


def test_what_uv_alone_is_configured_with_does_not_count(tmp_path: Path) -> None:
    ours = {"UV_INDEX_URL": "https://elsewhere.example/simple", "UV_CONSTRAINT": "/etc/constraints.txt"}
    assert calls(tmp_path, "", **ours) == [GETS_UV, BY_UV]


@pytest.mark.parametrize(
    "configured",
    [
        "global.index-url='https://packages.our.example/simple'",
        ":env:.extra-index-url='https://packages.our.example/simple'\n:env:.cert='/our/ca.crt'",
        "install.constraint='/etc/constraints.txt'",
        "global.proxy='http://proxy:3128'",
        # as pip prints a list over several lines, and a value with an apostrophe
        r"global.find-links='\n/wheels\n/more'",
        'global.cert="/the company\'s/ca.crt"',
        # of commands that are not this one, and of this one
        "download.find-links='/elsewhere'",
        "install.cert='/our/ca.crt'",
        # pip leaves out an empty variable, and the file counts
        ":env:.find-links=''\nglobal.find-links='/wheels'",
    ],
)
def test_pip_does_it_where_it_is_configured_with_anything_else(tmp_path: Path, configured: str) -> None:
    assert calls(tmp_path, f"{configured}\n") == [BY_PIP]


def test_pip_does_it_where_uv_fails(tmp_path: Path) -> None:
    assert calls(tmp_path, "", uv_status=2) == [GETS_UV, BY_UV, BY_PIP]
