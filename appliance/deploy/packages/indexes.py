"""Where packages come from, as the machine's owner told pip, in the words of uv and Poetry as well.

pip reads its configuration files and ``PIP_*``; uv reads neither, and Poetry only what the ``requests``
library reads. A company's index, its certificate or its proxy is configured once, for pip, and must count
whichever program installs. What is configured for uv itself wins. Poetry takes no index from outside of
``pyproject.toml``. Source of the names: pip's documentation, "Configuration", and uv's, "Environment
variables".
"""

import configparser
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from appliance.deploy.files import read_beginning
from appliance.values import value_class

#: Bytes of a configuration file that are read; task code can write those of the home folder.
_LONGEST_FILE = 1024 * 1024
#: Variables that say where uv finds packages: with one of them the operator has configured uv itself.
_UV_INDEX = ("UV_CONFIG_FILE", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL")
_UV_FILES = (Path("/etc/uv/uv.toml"), Path("/etc/xdg/uv/uv.toml"))
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
_YES = frozenset(("1", "true", "yes", "on", "y", "t"))


@value_class
class Indexes:
    """pip's settings about packages' whereabouts; empty where there is none."""

    index_url: str = ""
    extra_index_url: str = ""
    find_links: str = ""
    trusted_host: str = ""
    cert: str = ""
    proxy: str = ""
    no_index: bool = False


def read_indexes(env: Mapping[str, str], machine: Path = Path("/etc/pip.conf")) -> Indexes:
    """What pip goes by in the environment ``env``: variables over ``[install]``, that over ``[global]``.

    Only within a section does a file win over another one. ``machine`` is the file for all users.
    """
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for path in _files(env, machine):
        for name, values in _of_file(path).items():
            sections[name] |= values
    found = {**sections["global"], **sections["install"]}
    found |= {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in env.items()
        if name.startswith("PIP_") and value
    }
    return Indexes(
        index_url=found.get("index-url", ""),
        extra_index_url=_in_one_line(found.get("extra-index-url", "")),
        find_links=_in_one_line(found.get("find-links", "")),
        trusted_host=_in_one_line(found.get("trusted-host", "")),
        cert=found.get("cert", ""),
        proxy=found.get("proxy", ""),
        no_index=found.get("no-index", "").lower() in _YES,
    )


def for_pip(env: Mapping[str, str], indexes: Indexes) -> dict[str, str]:
    """``env`` with the certificates that the worker itself trusts, where pip was given none."""
    if indexes.cert or not env.get("SSL_CERT_FILE") or env.get("REQUESTS_CA_BUNDLE"):
        return dict(env)
    return {**env, "PIP_CERT": env["SSL_CERT_FILE"]}


def for_poetry(env: Mapping[str, str], indexes: Indexes) -> dict[str, str]:
    """``env`` with certificates and proxy as ``requests`` reads them."""
    cert = indexes.cert or env.get("SSL_CERT_FILE")
    added = {"REQUESTS_CA_BUNDLE": cert} if cert and not env.get("REQUESTS_CA_BUNDLE") else {}
    return {**env, **added, **_proxies(env, indexes)}


def for_uv(env: Mapping[str, str], indexes: Indexes) -> tuple[dict[str, str], tuple[str, ...]]:
    """``env`` with all of it in uv's words, and what has to be an argument."""
    cert = indexes.cert or env.get("REQUESTS_CA_BUNDLE")
    added = {"SSL_CERT_FILE": cert} if cert and not env.get("SSL_CERT_FILE") else {}
    added |= _proxies(env, indexes)
    if _is_configured_for_uv(env):
        return {**env, **added}, ()
    named = {
        "UV_INDEX_URL": indexes.index_url,
        "UV_EXTRA_INDEX_URL": indexes.extra_index_url,
        "UV_FIND_LINKS": indexes.find_links.replace(" ", ","),
        "UV_INSECURE_HOST": indexes.trusted_host,
    }
    added |= {name: value for name, value in named.items() if value and not env.get(name)}
    return {**env, **added}, ("--no-index",) if indexes.no_index else ()


def _files(env: Mapping[str, str], machine: Path) -> Iterator[Path]:
    """pip's configuration files, the weakest first."""
    named = env.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return
    for folder in (env.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep):
        yield Path(folder, "pip", "pip.conf")
    yield machine
    # A file that is named takes the place of the user's own.
    if (home := env.get("HOME")) and not (named and Path(named).exists()):
        yield Path(home, ".pip", "pip.conf")
        yield Path(env.get("XDG_CONFIG_HOME") or Path(home, ".config"), "pip", "pip.conf")
    if named:
        yield Path(named)


def _of_file(path: Path) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(read_beginning(path, _LONGEST_FILE).decode())
    except (OSError, ValueError, configparser.Error):
        # A file that is broken ends pip with a better message than any here.
        return {}
    return {
        section: {
            # pip ignores what is empty.
            key.replace("_", "-").removeprefix("--"): text
            for key, value in parser[section].items()
            if (text := value.strip())
        }
        for section in ("global", "install")
        if parser.has_section(section)
    }


def _is_configured_for_uv(env: Mapping[str, str]) -> bool:
    own = Path(env.get("XDG_CONFIG_HOME") or Path(env.get("HOME", "/"), ".config"), "uv", "uv.toml")
    return any(env.get(name) for name in _UV_INDEX) or any(path.exists() for path in (own, *_UV_FILES))


def _proxies(env: Mapping[str, str], indexes: Indexes) -> dict[str, str]:
    if not indexes.proxy or any(env.get(name) for name in _PROXIES):
        return {}
    return {"HTTP_PROXY": indexes.proxy, "HTTPS_PROXY": indexes.proxy}


def _in_one_line(value: str) -> str:
    return " ".join(value.split())
