"""What TLS to Redis is set up with: the CAs to trust and the certificate to show, from PEM files."""

import ssl
from pathlib import Path

from appliance.config.settings import RedisSettings


def make_context(redis: RedisSettings) -> ssl.SSLContext:
    """A context that verifies certificate and host name, from the files as they are now.

    With a CA file its CAs are the only ones trusted, without one the system's. Raises OSError
    (:class:`ssl.SSLError` is one) or ValueError for files that cannot be used.
    """
    context = ssl.create_default_context(cafile=redis.ca_file)
    if redis.cert_file:
        _show(redis, context)
    return context


def file_problem(redis: RedisSettings) -> tuple[str, str] | None:
    """The field and the reason of the first file that TLS cannot be set up with."""
    if redis.ca_file and not _has_certificate(redis.ca_file):
        return "ca_file", "there is no certificate in it"
    if redis.cert_file and not _has_certificate(redis.cert_file):
        return "cert_file", "there is no certificate in it"
    if not redis.cert_file:
        return None
    try:
        # Without the system's CAs, which take longer to read than all the rest of the configuration.
        _show(redis, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    except (OSError, ValueError) as exc:
        return "key_file" if redis.key_file else "cert_file", _unfit_key(exc, redis)
    return None


def _show(redis: RedisSettings, context: ssl.SSLContext) -> None:
    assert redis.cert_file is not None  # noqa: S101  the callers' condition
    context.load_cert_chain(redis.cert_file, redis.key_file, _refuse_passphrase)


def _unfit_key(exc: Exception, redis: RedisSettings) -> str:
    if not isinstance(exc, ssl.SSLError):
        return str(exc)
    if exc.reason == "KEY_VALUES_MISMATCH":
        return "it is the key of another certificate"
    unset = "" if redis.key_file else ", and RUNQY_REDIS_KEY_FILE is not set"
    return f"there is no private key in it{unset}"


def _has_certificate(path: Path) -> bool:
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ValueError):
        return False
    return True


def _refuse_passphrase() -> str:
    # Without this OpenSSL would ask at the terminal, and the whole worker would wait for the answer.
    raise ValueError("it is encrypted, and a worker cannot ask for the passphrase")
