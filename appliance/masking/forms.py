"""How programs write a secret: escaped for JSON, Python, URLs, HTML and shells, in base64 and hex. Pure."""

import base64
import html
import json
from urllib.parse import quote, quote_plus

from appliance.masking.parts import SHORTEST

#: JSON as other languages write it: PHP escapes a slash, Go what HTML would read.
_JSON_SLASH = {ord("/"): "\\/"}
_JSON_HTML = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}
#: HTML as Go and Jinja write it.
_HTML_NUMBERS = {"&quot;": "&#34;", "&#x27;": "&#39;"}
#: First character of a base64 text that the bytes behind 0, 1 or 2 others alone decide.
_FIRST = (0, 2, 3)


def forms(part: str) -> frozenset[str]:
    """Every form of ``part``, itself included; those shorter than a secret may be are left out."""
    raw = part.encode(errors="surrogatepass")
    written = {part, *_json(part), *_python(part, raw), *_url(part), *_html(part), *_shell(part)}
    encoded = {*_base64(raw), raw.hex(), raw.hex().upper()}
    return frozenset(form for form in written | encoded if len(form) >= SHORTEST)


def _json(part: str) -> set[str]:
    found = {json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1]}
    found |= {form.translate(table) for form in found for table in (_JSON_SLASH, _JSON_HTML)}
    # JSON as text inside JSON: what a log line that holds another one looks like.
    return found | {json.dumps(form)[1:-1] for form in found}


def _python(part: str, raw: bytes) -> set[str]:
    # Which quote a repr escapes depends on the text around the secret: here both stand around it.
    text, octets = repr(part + "\"'")[1:-1], repr(raw + b"\"'")[2:-1]
    around = "\"\\'"
    return {
        repr(part)[1:-1],
        ascii(part)[1:-1],
        repr(raw)[2:-1],
        text.removesuffix(around),
        octets.removesuffix(around),
    }


def _url(part: str) -> set[str]:
    try:
        found = {quote(part, safe=""), quote(part), quote_plus(part)}
    except UnicodeEncodeError:
        return set()
    return found | {_lower_escapes(form) for form in found}


def _lower_escapes(form: str) -> str:
    first, *others = form.split("%")
    return "%".join((first, *(other[:2].lower() + other[2:] for other in others)))


def _html(part: str) -> set[str]:
    found = html.escape(part)
    numbers = found
    for name, number in _HTML_NUMBERS.items():
        numbers = numbers.replace(name, number)
    return {found, numbers, numbers.replace("+", "&#43;"), html.escape(part, quote=False)}


def _shell(part: str) -> set[str]:
    return {part.replace("'", "'\"'\"'"), part.replace("'", "'\\''")}


def _base64(raw: bytes) -> set[str]:
    """What of the base64 of any text around ``raw`` only ``raw`` decides, for each of the three positions."""
    found = set()
    for before, first in enumerate(_FIRST):
        whole = base64.b64encode(bytes(before) + raw).decode()
        found.add(whole[first : (before + len(raw)) * 8 // 6])
    return found | {form.replace("+", "-").replace("/", "_") for form in found}
