"""A company's package index behind its own certificate authority counts, whichever program installs."""

import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from appliance.errors import DeploymentError
from harness.sandbox.certificates import Certificates, make_certificates
from tests.integration import deploying
from tests.integration.deploying import Rig

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@dataclass
class Index:
    """The index's address, the file of its authority, and the paths it was asked for."""

    url: str
    ca: Path
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def index(certificates: Certificates, rig: Rig) -> Iterator[Index]:
    root = rig.folder / "index"
    package = root / "simple" / "tiny"
    package.mkdir(parents=True)
    wheel = rig.wheel("tiny").rename(package / "tiny-1.0-py3-none-any.whl")
    (package / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(root))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.cert, certificates.key)
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield Index(f"https://127.0.0.1:{listener.server_port}/simple/", certificates.ca, asked)
        listener.shutdown()
        thread.join()


@pytest.fixture(params=["pip", "uv"])
def installer(request: pytest.FixtureRequest, rig: Rig, copies: None, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "uv":
        deploying.with_uv(rig, monkeypatch)
        for name in ("UV_CONFIG_FILE", "UV_FIND_LINKS"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", *PROXIES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_RETRIES", "0")
    return str(request.param)


def _deploy(rig: Rig) -> None:
    repo = rig.repo(main_py="", requirements_txt="tiny==1.0\n")
    rig.deploy(repo.url)


def test_pip_conf_names_index_and_certificate(
    rig: Rig, index: Index, installer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = rig.folder / "pip.conf"
    # Named, so that it wins over the files of the machine that runs the tests.
    monkeypatch.setenv("PIP_CONFIG_FILE", str(conf))
    conf.write_text(f"[global]\nindex-url = {index.url}\ncert = {index.ca}\n")

    _deploy(rig)

    assert rig.logged("deploy.environment")[0]["installer"] == installer
    assert "/simple/tiny/tiny-1.0-py3-none-any.whl" in index.asked


def test_pips_variable_names_the_index_and_the_workers_own_the_certificates(
    rig: Rig, index: Index, installer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    monkeypatch.setenv("SSL_CERT_FILE", str(index.ca))

    _deploy(rig)

    assert rig.logged("deploy.environment")[0]["installer"] == installer
    assert "/simple/tiny/tiny-1.0-py3-none-any.whl" in index.asked


def test_without_its_certificate_the_index_is_not_trusted(
    rig: Rig, index: Index, installer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index.url)

    with pytest.raises(DeploymentError, match=r"(?i)certificate|UnknownIssuer"):
        _deploy(rig)

    assert installer
    assert index.asked == []
