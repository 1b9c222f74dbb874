"""Which HTTP proxy stands between this worker and an address, by the usual variables. Pure.

There is no standard: lower-case names win, as everywhere; ``NO_PROXY`` is a list of host names, of domains,
of addresses and of address ranges, an entry with a port counts for that port alone, and what is none of
these is passed over. Only the proxy that the address needs has to be one that can be used.
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

_SCHEMES = ("http", "https")


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """The proxy's URL; None for none. Raises ValueError, with the variable's name, for one of no use.

    The text never has the proxy's URL in it, which may hold a password.
    """
    parts = urlsplit(url)
    name = _first(environ, f"{parts.scheme}_proxy", "all_proxy")
    if not name or not parts.hostname or _goes_direct(parts.hostname, parts.port, environ):
        return None
    value = environ[name].strip()
    proxy = value if "://" in value else f"http://{value}"
    scheme = proxy.partition("://")[0].lower()
    if scheme.startswith("socks"):
        raise ValueError(
            f"{name}: a SOCKS proxy cannot be used: name an HTTP proxy (http://host:port), or "
            f"{parts.hostname} in NO_PROXY to reach it without one"
        )
    allowed = f"{name}: must be the URL of an HTTP proxy, such as http://host:3128"
    if scheme not in _SCHEMES:
        raise ValueError(f"{allowed}, not {scheme}://")
    try:
        found = urlsplit(proxy)
        usable = bool(found.hostname) and (found.port is None or found.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(allowed)
    return proxy


def _first(environ: Mapping[str, str], *names: str) -> str:
    """The name of the first that is set, in lower case before upper case."""
    both = [spelled for name in names for spelled in (name, name.upper())]
    return next((name for name in both if environ.get(name, "").strip()), "")


def _goes_direct(host: str, port: int | None, environ: Mapping[str, str]) -> bool:
    name = _first(environ, "no_proxy")
    entries = [entry.strip().lower() for entry in environ[name].split(",")] if name else []
    return any(_covers(entry, host.lower(), port) for entry in entries if entry)


def _covers(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    name, _, digits = entry.rpartition(":")
    if name and digits.isdigit() and (":" not in name or name.endswith("]")):
        return int(digits) == port and _covers(name, host, port)
    entry = entry.strip("[]")
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        # One of them is a name.
        domain = entry.removeprefix("*").removeprefix(".")
        return host == domain or host.endswith(f".{domain}")
