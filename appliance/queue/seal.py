"""Authenticates what the worker keeps on disk with a key that is made from its API key. Pure.

A sealed line is the key's id (eight hexadecimal digits), a blank, an HMAC-SHA256 of the text (64 of them), a
blank, and the text. Who can write to the folder but does not know the API key can make no such line; what was
sealed once they can only copy or delete.
The id tells lines of another API key from forged ones. It is no secret, and says nothing of the key.
"""

import hashlib
import hmac
from enum import Enum, auto

#: Rounds of the derivation: who reads the folder shall not find out a weak API key by trying.
_ROUNDS = 100_000
#: Of this format; the same API key makes other keys for other purposes and formats.
_PURPOSE = b"runqy-appliance outbox 2"
_ID_DIGITS, _MAC_DIGITS = 8, 64
_PREFIX = _ID_DIGITS + 1 + _MAC_DIGITS + 1


class Broken(Enum):
    """Why a line is not opened."""

    DAMAGED = auto()
    OTHER_KEY = auto()


class Seal:
    """Seals with ``api_key``, and opens what was sealed with it or with the one ``previous`` to it."""

    def __init__(self, api_key: str, previous: str | None = None) -> None:
        self._own = _Key(api_key)
        known = [self._own, *([_Key(previous)] if previous else [])]
        self._known = {key.id: key for key in known}

    def close(self, text: bytes) -> bytes:
        """``text``, which has no line break, as a sealed line with one."""
        return b"%s %s %s\n" % (self._own.id, self._own.mac(text), text)

    def open(self, line: bytes) -> bytes | Broken:
        """The text of a sealed line, which comes without its line break."""
        id_, mac, text = line[:_ID_DIGITS], line[_ID_DIGITS + 1 : _PREFIX - 1], line[_PREFIX:]
        blanks = line[_ID_DIGITS : _ID_DIGITS + 1] + line[_PREFIX - 1 : _PREFIX]
        if blanks != b"  " or not _is_hexadecimal(id_ + mac):
            return Broken.DAMAGED
        if id_ not in self._known:
            return Broken.OTHER_KEY
        return text if hmac.compare_digest(mac, self._known[id_].mac(text)) else Broken.DAMAGED


class _Key:
    def __init__(self, api_key: str) -> None:
        self._secret = hashlib.pbkdf2_hmac("sha256", api_key.encode(), _PURPOSE, _ROUNDS)
        self.id = self.mac(b"")[:_ID_DIGITS]

    def mac(self, text: bytes) -> bytes:
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest().encode()


def _is_hexadecimal(digits: bytes) -> bool:
    return not digits.strip(b"0123456789abcdef")
