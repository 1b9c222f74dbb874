"""What is masked without knowing a secret, and what is taken out before secrets are looked for. Pure."""

import re

from appliance.masking.matcher import MASK

_SEQUENCE = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-~]"
#: What a terminal obeys and does not show (ECMA-48): colours, moves.
_SEQUENCES = re.compile(_SEQUENCE)
#: Titles and links as well. One that never ends is taken whole too: each of its characters may begin another,
#: and to look for an end from each of them would take minutes for a line.
_ESCAPES = re.compile(
    r"(?P<string>(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*)(?P<end>\x07|\x1b\\|\x9c)?"
    rf"|{_SEQUENCE}"
)
#: What else does not show: controls but for tab and line break, and characters without width.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)
#: What stands before the host of a URL. ``git`` alone is every forge's name for its ssh user.
_USER_INFO = re.compile(
    r"://(?!git@)(?:[^\s/?#\"<>]+@"
    # A password with a slash in it, which is no port. Without an end it is taken whole, as above.
    r"|[^\s/?#\"<>@:\[]*:(?!\d*(?:[/?#\s\"]|$))[^\s\"<>@]+(?P<end>@)?)"
)
#: Parameters of an address whose name says that the value is a secret.
_PARAMETER = re.compile(
    r"([?&](?:amp;)?(?:[\w.%-]{0,40}?(?:token|secret|passw|pwd|api_?key|access_?key|auth|signature|credential)"
    r"[\w.%-]{0,40}|key|sig|pass)=)[^\s&#\"'<>]+",
    re.IGNORECASE,
)


def without_escapes(text: str) -> str:
    """``text`` without what only a terminal obeys."""
    return text if text.isprintable() else _ESCAPES.sub(_shown, text)


def without_invisible(text: str) -> str:
    """``text`` without what does not show; tabs and line breaks stay."""
    return text if text.isprintable() else _INVISIBLE.sub("", text)


def mask_urls(text: str) -> str:
    """``text`` with the user info of every URL masked, and parameters that are named like secrets."""
    if "://" in text:
        text = _USER_INFO.sub(_without_user_info, text)
    if "=" in text and ("?" in text or "&" in text):
        text = _PARAMETER.sub(rf"\g<1>{MASK}", text)
    return text


def _shown(found: re.Match[str]) -> str:
    """What is to be seen of a match of ``_ESCAPES``: all of a string that never ends but what is in it."""
    if found["string"] is None or found["end"] is not None:
        return ""
    return _SEQUENCES.sub("", found["string"])


def _without_user_info(found: re.Match[str]) -> str:
    return f"://{MASK}@" if found[0].endswith("@") else found[0]
