"""Registration with the runqy server over HTTP: one call per parent queue, again while that can help.

The request and the answers are those of the server's public ``POST /worker/register``. What can
pass (no connection, timeout, 408, 425, 429, 5xx) is tried again; every other refusal is final.
"""

import json
import os
import platform
import random
import socket
import ssl
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import gevent
import httpx
import structlog

from appliance.clock import Clock
from appliance.config.settings import BootstrapSettings, ServerSettings
from appliance.control import fairness
from appliance.control.contract import Registration, parse_registration
from appliance.control.proxies import proxy_for
from appliance.errors import RegistrationRejected, RegistrationUnavailable
from appliance.masking.forms import forms
from appliance.masking.matcher import Matcher, masked
from appliance.masking.parts import parts
from appliance.masking.text import mask_urls, without_escapes
from appliance.values import value_class

log = structlog.get_logger()

#: Bytes of an answer; a contract with many vaults is a few kilobytes.
MAX_BODY_BYTES = 1024 * 1024
#: Bytes of everything else that one connection brings: headers, and what TLS and chunks add.
_MAX_HEAD_BYTES = 512 * 1024
#: Seconds at most that a server's Retry-After is obeyed: an hour of waiting would look like a hang.
MAX_RETRY_AFTER_S = 300.0
#: Part of the delay added at random, so that a fleet started together does not ask together.
JITTER = 0.1
#: Characters of a server's explanation that are quoted.
QUOTED_LENGTH = 300
#: Statuses below 500 that say "not now" rather than "no".
_PASSING = frozenset({408, 425, 429})
#: What is raised, before anything is sent, about an address or our certificates; sockets' errors are httpx's.
_OURS = (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL, ValueError, OSError)
#: Characters of it that are looked at: the key, which has at most 8192, must not lie across their end.
_READ_LENGTH = 65_536


@value_class
class Timeouts:
    """Seconds for one attempt: to connect, for the server to say anything, and altogether."""

    connect_s: float = 10.0
    read_s: float = 30.0
    total_s: float = 60.0


_TIMEOUTS = Timeouts()


class Registrar:
    """Asks the server for the contracts of this worker's queues."""

    def __init__(
        self,
        server: ServerSettings,
        bootstrap: BootstrapSettings,
        clock: Clock,
        version: str,
        rng: random.Random,
        timeouts: Timeouts = _TIMEOUTS,
    ) -> None:
        self._key = server.api_key
        self._secrets = Matcher()
        for part in parts(self._key):
            self._secrets.add(forms(part))
        self._url = f"{server.url.rstrip('/')}/worker/register"
        self._bootstrap = bootstrap
        self._clock = clock
        self._version = version
        self._rng = rng
        self._timeouts = timeouts

    def register(self, parent: str) -> Registration:
        """Return the contract of the parent queue ``parent``.

        Makes ``1 + bootstrap.retries`` attempts, at least ``bootstrap.retry_delay_s`` apart, longer
        where the server's Retry-After says so.

        Raises :class:`~appliance.errors.RegistrationRejected` for an answer that asking again does
        not change, :class:`~appliance.errors.RegistrationUnavailable` after the last attempt.
        """
        attempts = 1 + self._bootstrap.retries
        for attempt in range(1, attempts + 1):
            try:
                return self._attempt(parent)
            except RegistrationUnavailable as exc:
                if attempt == attempts:
                    log.error("registration.gave_up", parent=parent, attempts=attempts, error=str(exc))
                    message = f"gave up registering queue {parent} after {attempts} attempts: {exc}"
                    raise RegistrationUnavailable(message, exc.retry_after_s) from exc
                delay_s = self._delay_s(exc.retry_after_s)
                log.warning(
                    "registration.failed",
                    parent=parent,
                    attempt=attempt,
                    of=attempts,
                    error=str(exc),
                    retry_in_s=round(delay_s, 1),
                )
            self._clock.sleep(delay_s)
        raise AssertionError("attempts begin at 1")

    def _delay_s(self, retry_after_s: float | None) -> float:
        wish_s = min(retry_after_s or 0.0, MAX_RETRY_AFTER_S)
        return max(self._bootstrap.retry_delay_s, wish_s) * (1 + self._rng.uniform(0, JITTER))

    def _attempt(self, parent: str) -> Registration:
        seconds = self._timeouts.total_s
        late = RegistrationUnavailable(f"{self._where()} did not answer within {seconds:g} s")
        # httpx bounds each read, not their sum: a server sending a byte now and then would hold us for ever.
        with gevent.Timeout(seconds, late):
            return parse_registration(parent, self._decoded(self._ask(parent)))

    def _ask(self, parent: str) -> bytes:
        timeout = httpx.Timeout(self._timeouts.read_s, connect=self._timeouts.connect_s)
        body = {
            "queue": parent,
            # A host's name is bytes; what is no UTF-8 in it has no JSON.
            "hostname": socket.gethostname().encode(errors="replace").decode() or "unknown",
            "os": platform.system().lower() or "unknown",
            "version": self._version,
        }
        if not self._key.isascii() or not self._key.isprintable():
            # Here, because httpx would quote the header whole.
            raise RegistrationRejected("RUNQY_API_KEY holds characters that no HTTP header can")
        # A compressed answer could be far larger than what MAX_BODY_BYTES bounds.
        headers = {"Authorization": f"Bearer {self._key}", "Accept-Encoding": "identity"}
        try:
            # Not httpx's own reading of the variables: it fails on proxies that are not for this address.
            proxy = self._proxy()
            context = _authorities(self._url, proxy)
            # A redirect is never followed: it would carry the key to any host that the answer names.
            with httpx.Client(
                timeout=timeout, follow_redirects=False, verify=context, trust_env=False, proxy=proxy
            ) as client:
                fairness.bound(client, MAX_BODY_BYTES + _MAX_HEAD_BYTES)
                with client.stream("POST", self._url, json=body, headers=headers) as response:
                    return self._checked(response)
        except fairness.TooMuch as exc:
            raise RegistrationRejected(self._too_much()) from exc
        except _OURS as exc:
            text = self._quoted(str(exc))
            raise RegistrationRejected(
                f"{self._where()} cannot be asked: {text}; check RUNQY_SERVER_URL"
            ) from exc
        except httpx.TransportError as exc:
            problem = f"{self._where()} cannot be reached: {self._quoted(str(exc) or type(exc).__name__)}"
            if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(exc)):
                raise RegistrationRejected(
                    f"{problem}; a private authority's certificate can be named in SSL_CERT_FILE"
                ) from exc
            raise RegistrationUnavailable(problem) from exc

    def _proxy(self) -> str | None:
        try:
            return proxy_for(self._url, os.environ)
        except ValueError as exc:
            raise RegistrationRejected(f"{self._where()} cannot be asked: {exc}") from exc

    def _checked(self, response: httpx.Response) -> bytes:
        status = response.status_code
        if response.is_redirect or 300 <= status < 400:
            location = _without_secrets(response.headers.get("location", ""))
            raise RegistrationRejected(
                f"{self._where()} redirects ({status}) to {self._quoted(location) or 'nowhere'}, which is "
                "not followed because it would hand on the API key; "
                "set RUNQY_SERVER_URL to where the server is"
            )
        body = self._read(response)
        if status == 200:
            return body
        problem = f"{self._where()} answered {status}: {self._explanation(body) or response.reason_phrase}"
        if status in _PASSING or status >= 500:
            raise RegistrationUnavailable(problem, self._retry_after_s(response.headers.get("retry-after")))
        if status in {401, 403}:
            problem += "; check RUNQY_API_KEY"
        raise RegistrationRejected(problem)

    def _read(self, response: httpx.Response) -> bytes:
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise RegistrationRejected(f"{self._where()} answered compressed ({encoding}), unasked")
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise RegistrationRejected(self._too_much())
        return bytes(body)

    def _decoded(self, body: bytes) -> object:
        try:
            decoded: object = json.loads(body)
        except (ValueError, RecursionError) as exc:
            raise RegistrationRejected(
                f"{self._where()} answered 200 with what is not JSON; "
                "does RUNQY_SERVER_URL name a runqy server?"
            ) from exc
        return decoded

    def _explanation(self, body: bytes) -> str:
        """What the server says is wrong: ``{"error": …}``, ``{"errors": […]}``, else its text."""
        try:
            decoded = json.loads(body)
            said = decoded
            if isinstance(decoded, dict):
                said = decoded.get("error") or decoded.get("errors") or ""
            return self._quoted("; ".join(map(str, said)) if isinstance(said, list) else str(said))
        except (ValueError, RecursionError):
            return self._quoted(body.decode(errors="replace"))

    def _quoted(self, text: str) -> str:
        """Their words in our log: without the key, on one line, and not too many."""
        # Masked first: a key cut in two by the bound would not be recognised.
        text = mask_urls(masked(without_escapes(text[:_READ_LENGTH]), [self._secrets]))
        visible = "".join(c if c.isprintable() else " " for c in text)
        words = " ".join(visible.split())
        return words if len(words) <= QUOTED_LENGTH else f"{words[:QUOTED_LENGTH]}…"

    def _retry_after_s(self, header: str | None) -> float | None:
        """Seconds from now; the header holds seconds or an HTTP date, anything else counts as absent."""
        if header is None:
            return None
        if header.strip().isascii() and header.strip().isdigit():
            return float(header)
        try:
            return max(0.0, parsedate_to_datetime(header).timestamp() - self._clock.wall())
        except (ValueError, OverflowError, OSError):
            return None

    def _too_much(self) -> str:
        return f"{self._where()} answered with more than {MAX_BODY_BYTES} bytes"

    def _where(self) -> str:
        return f"server {_without_secrets(self._url)}"


def _authorities(url: str, proxy: str | None) -> ssl.SSLContext:
    """Those that vouch for certificates; none, with which every one is refused, where no TLS is spoken."""
    if "https" in (urlsplit(url).scheme, urlsplit(proxy or "").scheme):
        # The system's authorities, not httpx's own list: companies add theirs there.
        return ssl.create_default_context()
    # Reading the system's takes longer than all else of a registration.
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__


def _without_secrets(url: str) -> str:
    """A URL without user, password, query and fragment, each of which may hold a key."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that cannot be read"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
