"""A private CA and certificates of it, made by the openssl program, for a Redis with TLS."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """PEM files: the CA's certificate, a certificate it signed, and that one's key."""

    ca: Path
    cert: Path
    key: Path


def make_certificates(folder: Path, names: str = "IP:127.0.0.1") -> Certificates:
    """Make a CA in ``folder`` and a certificate for ``names``, valid for a day.

    ``names`` are written as OpenSSL's subjectAltName: ``DNS:redis.test,IP:127.0.0.1``. The certificate
    serves servers and clients alike.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ca, ca_key = folder / "ca.pem", folder / "ca.key"
    made = Certificates(ca, folder / "cert.pem", folder / "cert.key")
    request = folder / "cert.csr"
    extensions = folder / "extensions"
    extensions.write_text(f"subjectAltName={names}\n")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    _openssl("req", "-x509", *new_key, "-subj", "/CN=harness CA", "-days", "1", "-keyout", ca_key, "-out", ca)
    _openssl("req", "-new", *new_key, "-subj", "/CN=harness", "-keyout", made.key, "-out", request)
    signing = ("-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "1", "-extfile", extensions)
    _openssl("x509", "-req", "-in", request, *signing, "-out", made.cert)
    return made


def _openssl(*arguments: str | Path) -> None:
    """Raises CalledProcessError, its ``stderr`` what openssl says, where it fails."""
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
