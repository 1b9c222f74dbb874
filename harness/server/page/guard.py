"""Who may see the page: browsers on this machine that were asked for it by its own name. Pure.

The page shows payloads and sends tasks, in most cases without a key. Another site's script must reach it
neither directly (``Origin``, ``Sec-Fetch-Site``) nor under a name of that site which resolves to this machine
(``Host``), which is DNS rebinding.
"""

import base64
import hmac
import ipaddress
from urllib.parse import urlsplit

from harness.server import keys
from harness.server.messages import Request, Response

#: What no answer of the page lacks.
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
TEXT = "text/plain; charset=utf-8"
#: What a browser says of a request that is the page's own, or was typed.
_OWN = frozenset({"", "same-origin", "none"})


def refusal(request: Request, key: str) -> Response | None:
    """Why the page is not for this request; None where it is. ``key`` empty: none is asked for."""
    host = request.headers.get("host", "")
    if not _is_loopback(request.client):
        return told(403, "the page is for this machine alone: use 127.0.0.1, or a tunnel to it")
    if not _is_loopback(_host(host)):
        return told(403, f"Host is {host[:200]!r}: expected localhost or 127.0.0.1")
    # A link from elsewhere may lead to the page; nothing else of it may be used from elsewhere.
    if request.path != "/" and request.headers.get("sec-fetch-site", "") not in _OWN:
        return told(403, "asked for by another site")
    if request.method != "GET" and request.headers.get("origin", "") != f"http://{host}":
        return told(403, f"Origin is {request.headers.get('origin', '')[:200]!r}: expected http://{host}")
    if key and not hmac.compare_digest(_presented(request).encode(), key.encode()):
        asked = {"WWW-Authenticate": 'Basic realm="runqy-harness: the client key is the password"'}
        return told(401, "access unauthorized", **asked)
    return None


def told(status: int, text: str, **headers: str) -> Response:
    """A refusal in words."""
    return Response(status, text.encode(errors="replace"), TEXT, HEADERS | headers)


def _host(header: str) -> str:
    """The name in a Host header, without its port; empty where it is none."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _presented(request: Request) -> str:
    """The key a request carries: as a browser sends a password, or as the API's clients do."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return keys.presented(request.headers)
    try:
        return base64.b64decode(encoded).decode(errors="replace").partition(":")[2]
    except ValueError:
        return ""
