"""TLS to Redis: certificate and host name verified, what is wrong with either said in words.

redis-py's own would trust the system's CAs beside a private one, and wait at the terminal for a key's
passphrase.
"""

import socket
import ssl
from typing import Any

import redis

from appliance.config.settings import RedisSettings
from appliance.config.tls import make_context
from appliance.errors import QueueUnavailable


class TlsConnection(redis.Connection):
    """A connection of redis-py with our own TLS on top; its base names ``_connect`` as the place for that.

    The files are read at each connect, so that renewed certificates count without a restart.
    """

    def __init__(self, settings: RedisSettings, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._settings = settings

    def _connect(self) -> ssl.SSLSocket:
        """Raises :class:`~appliance.errors.QueueUnavailable` where there is a connection but no TLS on it."""
        plain: socket.socket = super()._connect()  # type: ignore[no-untyped-call]
        try:
            # A Redis without TLS waits for the end of what it takes for a command.
            plain.settimeout(self.socket_connect_timeout)
            secured = make_context(self._settings).wrap_socket(plain, server_hostname=self.host)
            secured.settimeout(self.socket_timeout)
            return secured
        except (OSError, ValueError) as exc:
            plain.close()
            raise QueueUnavailable(f"Redis at {self.host}:{self.port}: {self._explained(exc)}") from exc
        except BaseException:
            plain.close()
            raise

    def _explained(self, exc: Exception) -> str:
        if isinstance(exc, ssl.SSLCertVerificationError):
            named = self._settings.ca_file
            whose = (
                f"in RUNQY_REDIS_CA_FILE ({named})"
                if named
                else "of this system (RUNQY_REDIS_CA_FILE names others)"
            )
            return f"its certificate is not trusted: {exc.verify_message}; trusted are the CAs {whose}"
        about = refusal(exc, self._settings, greeting=False)
        return about or f"TLS, which the server says it has, does not come about: {exc}"


def refusal(exc: BaseException, settings: RedisSettings, *, greeting: bool) -> str:
    """What is to be said where ``exc`` comes of Redis refusing the certificate we show, else "".

    With TLS 1.3 its verdict comes after our side of the handshake is done, to our first command (while
    ``greeting``), or is lost when that command meets a closed connection.
    """
    cause = exc if isinstance(exc, ssl.SSLError) else exc.__context__
    shown = f"the certificate in RUNQY_REDIS_CERT_FILE ({settings.cert_file})"
    ours = shown if settings.cert_file else "us without a certificate (RUNQY_REDIS_CERT_FILE is not set)"
    if isinstance(cause, ssl.SSLError) and "_ALERT_" in (cause.reason or ""):
        return f"it refuses {ours}: {cause}"
    if greeting and isinstance(cause, ssl.SSLEOFError | ConnectionResetError | BrokenPipeError):
        return f"it hung up on {ours}: {cause}"
    return ""
