"""pip's settings about where packages come from, in the words of each installer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.deploy.packages.indexes import Indexes, for_pip, for_poetry, for_uv, read_indexes


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def _conf(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _env(home: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(home), "XDG_CONFIG_DIRS": str(home / "xdg"), **more}


def test_files_are_read_as_pip_reads_them_and_variables_win(home: Path) -> None:
    _conf(
        home / "xdg" / "pip" / "pip.conf",
        "[global]\nindex-url = https://weakest/\nproxy = http://proxy:3128\n",
    )
    _conf(
        home / "pip.conf",
        "[global]\nindex_url = https://machine/\ntrusted-host =\n  a\n  b\n",
    )
    named = _conf(
        home / "named.conf",
        "[install]\nindex-url = https://install/\n[global]\nindex-url = https://global/\nno-index = true\n",
    )

    env = _env(home, PIP_CONFIG_FILE=str(named))
    from_files = read_indexes(env, home / "pip.conf")
    from_variables = read_indexes({**env, "PIP_INDEX_URL": "https://variable/"}, home / "pip.conf")

    assert from_files == Indexes(
        "https://install/", trusted_host="a b", proxy="http://proxy:3128", no_index=True
    )
    assert from_variables.index_url == "https://variable/"


def test_install_wins_over_global_whichever_file_it_stands_in(home: Path) -> None:
    _conf(home / "pip.conf", "[install]\nindex-url = https://machine-install/\ncert = /machine.pem\n")
    _conf(
        home / ".config" / "pip" / "pip.conf",
        "[global]\nindex-url = https://user-global/\nproxy = http://user:1\n[install]\ncert =\n",
    )

    found = read_indexes(_env(home), home / "pip.conf")

    assert found == Indexes("https://machine-install/", cert="/machine.pem", proxy="http://user:1")


def test_a_named_file_takes_the_place_of_the_users_own(home: Path) -> None:
    _conf(home / "pip.conf", "[global]\nproxy = http://machine:1\n")
    _conf(home / ".config" / "pip" / "pip.conf", "[install]\nindex-url = https://user/\n")
    named = _conf(home / "named.conf", "[global]\nindex-url = https://named/\n")

    found = read_indexes(_env(home, PIP_CONFIG_FILE=str(named)), home / "pip.conf")
    missing = read_indexes(_env(home, PIP_CONFIG_FILE=str(home / "none")), home / "pip.conf")

    assert found == Indexes("https://named/", proxy="http://machine:1")
    assert missing.index_url == "https://user/"


def test_what_is_read_is_what_pip_itself_looks_in(home: Path) -> None:
    """pip has the last word: it names the index that it looks in."""
    _conf(home / "xdg" / "pip" / "pip.conf", "[install]\nindex-url = http://127.0.0.1:1/install/\n")
    _conf(home / ".config" / "pip" / "pip.conf", "[global]\nindex-url = http://127.0.0.1:1/global/\n")
    env = _env(home, PATH=os.environ["PATH"], PIP_RETRIES="0", PIP_DISABLE_PIP_VERSION_CHECK="1")

    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "runqy-no-such-package"]
    said = subprocess.run(pip, env=env, capture_output=True, text=True, check=False, timeout=600).stdout

    assert f"Looking in indexes: {read_indexes(env, home / 'pip.conf').index_url}" in said


def test_no_file_is_read_where_pip_reads_none(home: Path) -> None:
    _conf(home / ".config" / "pip" / "pip.conf", "[global]\nindex-url = https://user/\n")

    assert read_indexes(_env(home, PIP_CONFIG_FILE="/dev/null")) == Indexes()


@pytest.mark.parametrize("content", ["no section\n", "[global\n", "[global]\nindex-url = %(nope)s\n\x00"])
def test_a_broken_file_is_left_to_pip_to_complain_about(home: Path, content: str) -> None:
    _conf(home / ".pip" / "pip.conf", content)

    read_indexes(_env(home))


def test_uv_is_told_all_of_it() -> None:
    indexes = Indexes(
        index_url="https://index/",
        extra_index_url="https://one/ https://two/",
        find_links="/wheels /more",
        trusted_host="index one",
        cert="/ca.pem",
        proxy="http://proxy:3128",
        no_index=True,
    )

    env, arguments = for_uv({"HOME": "/nowhere"}, indexes)

    assert env == {
        "HOME": "/nowhere",
        "UV_INDEX_URL": "https://index/",
        "UV_EXTRA_INDEX_URL": "https://one/ https://two/",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INSECURE_HOST": "index one",
        "SSL_CERT_FILE": "/ca.pem",
        "HTTP_PROXY": "http://proxy:3128",
        "HTTPS_PROXY": "http://proxy:3128",
    }
    assert arguments == ("--no-index",)


@pytest.mark.parametrize("own", ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_CONFIG_FILE", "uv.toml"])
def test_an_index_that_was_configured_for_uv_wins(home: Path, own: str) -> None:
    env = _env(home)
    if own == "uv.toml":
        _conf(home / ".config" / "uv" / "uv.toml", "")
    else:
        env[own] = "own"

    told, arguments = for_uv(env, Indexes(index_url="https://pip/", no_index=True))

    assert (told, arguments) == (env, ())


def test_certificates_and_proxies_that_are_set_for_a_program_stay() -> None:
    own = {"HOME": "/nowhere", "SSL_CERT_FILE": "/own.pem", "https_proxy": "http://own:1"}
    indexes = Indexes(cert="/pip.pem", proxy="http://pip:1")

    assert for_uv(own, indexes)[0] == own
    assert for_pip(own, indexes) == own
    assert for_poetry({**own, "REQUESTS_CA_BUNDLE": "/r.pem"}, indexes) == {
        **own,
        "REQUESTS_CA_BUNDLE": "/r.pem",
    }


def test_the_certificates_that_the_worker_trusts_count_for_each_installer() -> None:
    env = {"HOME": "/nowhere", "SSL_CERT_FILE": "/ca.pem"}

    assert for_pip(env, Indexes())["PIP_CERT"] == "/ca.pem"
    assert for_poetry(env, Indexes())["REQUESTS_CA_BUNDLE"] == "/ca.pem"
    assert (
        for_uv({"HOME": "/nowhere", "REQUESTS_CA_BUNDLE": "/ca.pem"}, Indexes())[0]["SSL_CERT_FILE"]
        == "/ca.pem"
    )


def test_poetry_is_told_pips_certificate_and_proxy() -> None:
    env = for_poetry({}, Indexes(cert="/ca.pem", proxy="http://proxy:1"))

    assert env == {
        "REQUESTS_CA_BUNDLE": "/ca.pem",
        "HTTP_PROXY": "http://proxy:1",
        "HTTPS_PROXY": "http://proxy:1",
    }
