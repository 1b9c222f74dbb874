"""How a result is written, so that the server gives it back as it is. Pure.

The server decodes a result that happens to be valid base64 before it shows it, and JSON can be: ``null``,
``true``, a number of four or eight digits. A blank at its end is still JSON, and no base64.
"""

import re

_LINE_BREAKS = b"\r\n"
#: All that base64 can consist of; results that are objects, lists or texts fail at the first character.
_ALPHABET = re.compile(rb"[A-Za-z0-9+/=\r\n]*")
_NO_BASE64 = (b"{", b"[", b'"', b"-")
#: Bytes from which on it is not worth looking.
_LONG = 4096
#: Characters in a group of base64; line breaks do not count.
_GROUP = 4


def stored(result: bytes) -> bytes:
    """``result``, a JSON value, with a blank behind it where the server would take it for base64."""
    # Of all JSON these alone begin with what base64 does not have; a blank more does no harm to the others.
    if result[:1] in _NO_BASE64:
        return result
    if len(result) > _LONG:
        return result + b" "
    if not _ALPHABET.fullmatch(result) or len(result.translate(None, _LINE_BREAKS)) % _GROUP:
        return result
    return result + b" "
