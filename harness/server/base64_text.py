"""How the server shows bytes as text: what happens to be base64 is decoded. Pure.

The rule is Go's ``base64.StdEncoding``: the standard alphabet, whole groups of four, padding where it is
due and only there; carriage returns and line feeds do not count. So JSON such as ``null`` or ``1234``
is "decoded" into bytes that were never sent.
"""

import base64
import re

_ESCAPED_BYTES = re.compile("[\udc80-\udcff]")
_GROUPS = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def shown(content: bytes) -> str:
    """``content`` as text, decoded where it is valid base64."""
    compact = content.translate(None, b"\r\n")
    return text(base64.b64decode(compact) if _GROUPS.fullmatch(compact) else content)


def text(content: bytes) -> str:
    """``content`` as JSON written in Go has it: a replacement character for each byte that is no UTF-8."""
    # Python's own replacement puts one character for the beginning of a sequence that is not finished.
    return _ESCAPED_BYTES.sub("\ufffd", content.decode(errors="surrogateescape"))
