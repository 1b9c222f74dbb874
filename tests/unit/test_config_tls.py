"""Files for TLS that cannot be used are refused at start, each by the name of its setting."""

import ssl
import subprocess
from pathlib import Path

import pytest

from appliance.config.load import Loaded, load
from appliance.errors import ConfigurationError
from harness.sandbox.certificates import Certificates, make_certificates
from tests.unit.config_garbage import REQUIRED


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("others"))


def loaded(folder: Path, **files: Path) -> Loaded:
    """Load with ``files`` by what comes after RUNQY_REDIS_."""
    variables = {f"RUNQY_REDIS_{name}": str(path) for name, path in files.items()}
    return load(REQUIRED | variables, None, folder)


def problem(folder: Path, **files: Path) -> str:
    """The one problem with these files."""
    with pytest.raises(ConfigurationError) as caught:
        loaded(folder, **files)
    (found,) = caught.value.problems
    return found


def test_files_that_belong_together_are_taken_relative_to_the_working_directory(
    certificates: Certificates,
) -> None:
    folder = certificates.ca.parent

    settings = loaded(folder, CA_FILE=Path("ca.pem"), CERT_FILE=Path("cert.pem"), KEY_FILE=Path("cert.key"))

    redis = settings.settings.redis
    assert (redis.ca_file, redis.cert_file, redis.key_file) == (
        certificates.ca,
        certificates.cert,
        certificates.key,
    )


def test_a_certificate_may_bring_its_key_in_the_same_file(tmp_path: Path, certificates: Certificates) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(certificates.cert.read_bytes() + certificates.key.read_bytes())

    assert loaded(tmp_path, CERT_FILE=both).settings.redis.cert_file == both


@pytest.mark.parametrize("name", ["CA_FILE", "CERT_FILE"])
def test_a_file_without_a_certificate_is_named(tmp_path: Path, certificates: Certificates, name: str) -> None:
    found = problem(tmp_path, **{name: certificates.key})

    assert found.startswith(f"RUNQY_REDIS_{name}={str(certificates.key)!r}: must be ")
    assert "there is no certificate in it" in found


@pytest.mark.parametrize("name", ["CA_FILE", "CERT_FILE", "KEY_FILE"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    found = problem(tmp_path, **{name: tmp_path / "nothing"})

    assert found.startswith(f"RUNQY_REDIS_{name}=")
    assert "No such file" in found


def test_a_cluster_that_sentinels_watch_is_refused_naming_both(tmp_path: Path) -> None:
    found = problem(tmp_path, CLUSTER="yes", SENTINELS="one:26379", SENTINEL_MASTER="queue")

    assert found == "RUNQY_REDIS_CLUSTER='yes': cannot go with RUNQY_REDIS_SENTINELS='one:26379'"


def test_a_password_of_sentinels_without_sentinels_is_named_and_not_shown(tmp_path: Path) -> None:
    found = problem(tmp_path, SENTINEL_PASSWORD="password-canary-75")

    assert found.startswith("RUNQY_REDIS_SENTINEL_PASSWORD=")
    assert found.endswith("needs RUNQY_REDIS_SENTINELS, which is not set")
    assert "canary" not in found


def test_a_user_of_sentinels_needs_a_password(tmp_path: Path) -> None:
    found = problem(tmp_path, SENTINELS="one:26379", SENTINEL_MASTER="queue", SENTINEL_USERNAME="scout")

    assert found.endswith("needs RUNQY_REDIS_SENTINEL_PASSWORD, which is not set")


def test_the_password_of_sentinels_may_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("password-canary-76\n")

    found = loaded(tmp_path, SENTINELS="one:26379", SENTINEL_MASTER="queue", SENTINEL_PASSWORD_FILE=secret)

    assert found.settings.redis.sentinel_password == "password-canary-76"
    assert "canary" not in repr(found.settings)


def test_a_key_without_a_certificate_is_named(tmp_path: Path, certificates: Certificates) -> None:
    found = problem(tmp_path, KEY_FILE=certificates.key)

    assert found.startswith("RUNQY_REDIS_KEY_FILE=")
    assert found.endswith("needs RUNQY_REDIS_CERT_FILE, which is not set")


def test_a_certificate_without_a_key_is_named(tmp_path: Path, certificates: Certificates) -> None:
    found = problem(tmp_path, CERT_FILE=certificates.cert)

    assert found.startswith("RUNQY_REDIS_CERT_FILE=")
    assert "no private key in it, and RUNQY_REDIS_KEY_FILE is not set" in found


def test_the_key_of_another_certificate_is_named(
    tmp_path: Path, certificates: Certificates, others: Certificates
) -> None:
    found = problem(tmp_path, CERT_FILE=certificates.cert, KEY_FILE=others.key)

    assert found.startswith("RUNQY_REDIS_KEY_FILE=")
    assert "the key of another certificate" in found


def test_a_key_file_without_a_key_is_named(tmp_path: Path, certificates: Certificates) -> None:
    found = problem(tmp_path, CERT_FILE=certificates.cert, KEY_FILE=certificates.ca)

    assert found.startswith("RUNQY_REDIS_KEY_FILE=")
    assert "there is no private key in it" in found


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(
    tmp_path: Path, certificates: Certificates
) -> None:
    locked = tmp_path / "locked.key"
    command = ["openssl", "ec", "-in", certificates.key, "-aes256", "-passout", "pass:x", "-out", locked]
    subprocess.run(command, check=True, capture_output=True)

    found = problem(tmp_path, CERT_FILE=certificates.cert, KEY_FILE=locked)

    assert found.startswith("RUNQY_REDIS_KEY_FILE=")
    assert "a worker cannot ask for the passphrase" in found


def test_a_start_without_certificates_reads_no_authorities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(**_: object) -> None:
        raise AssertionError("that takes longer than the rest of the configuration")

    monkeypatch.setattr(ssl, "create_default_context", read)

    loaded(tmp_path)
