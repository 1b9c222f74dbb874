"""Where task code comes from: a git URL taken apart, with what it must not be refused. Pure.

Credentials written into a URL are taken out of it here, first thing, so that everything behind
this module handles a URL that can be logged, passed as an argument and stored.
"""

import re
from dataclasses import field
from enum import StrEnum
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from appliance.errors import DeploymentRejected
from appliance.values import value_class

#: What git takes for the user where only a token matters; GitHub, GitLab, Gitea and Azure accept any.
DEFAULT_USER = "x-access-token"
#: Hosts that insist on their own user name for tokens.
_USERS = {"bitbucket.org": "x-token-auth"}
_ALLOWED = "https://, http://, ssh://, git:// or file:// URL, user@host:path, or a local path"
#: What git's own rules forbid in the name of a branch or tag (gitrevisions, git-check-ref-format).
_BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/.]|/\.|\.lock(/|$)|[/.]$|^@$")
_BAD_PARENT = re.compile(r"[\x00-\x1f\x7f/\\]|^[-.]|^$")


class Transport(StrEnum):
    """How git gets there."""

    HTTP = "http"
    SSH = "ssh"
    GIT = "git"
    LOCAL = "local"


@value_class
class Source:
    """A repository to clone: ``url`` without credentials; ``origin``, for HTTP, its ``scheme://host[:port]``."""

    url: str
    transport: Transport
    origin: str = ""
    user: str = field(repr=False, default="")
    password: str = field(repr=False, default="")

    @property
    def encrypted(self) -> bool:
        """Whether what is sent there can be read on the way."""
        return not self.url.startswith(("http://", "git://"))


@value_class
class Login:
    """What a repository on ``origin`` is opened with; git asks for it, only there, when told to log in."""

    origin: str
    user: str = field(repr=False)
    password: str = field(repr=False)


class OwnToken(StrEnum):
    """What becomes of the worker's own token."""

    UNUSED = "unused"  # there is none, or another login goes first
    SENT = "sent"
    SENT_UNNAMED = "sent to an unnamed host"
    WITHHELD = "withheld"


def parse_source(git_url: str) -> Source:
    """Take ``git_url`` apart; raises :class:`~appliance.errors.DeploymentRejected` for one not to be used.

    A leading dash would be an option to git, ``ext::`` and its kind would run programs.
    """
    if not git_url or git_url.startswith("-") or re.search(r"[\x00-\x20\x7f]|^[\w+.-]+::", git_url):
        raise _refused(git_url)
    scheme, found, _ = git_url.partition("://")
    if not found:
        host, colon, path = git_url.partition(":")
        is_scp = bool(colon) and "/" not in host
        # A password has no place in this form, and everybody could read it in the list of processes.
        has_password = "@" not in host and re.match(r"[^/]*@[^/]*:", path)
        if is_scp and (host.rpartition("@")[2].startswith("-") or has_password):
            raise _refused(git_url)
        return Source(git_url, Transport.SSH if is_scp else Transport.LOCAL)
    if scheme in {"https", "http"}:
        return _http(git_url)
    if scheme in {"ssh", "git+ssh", "ssh+git"}:
        return _ssh(git_url)
    if scheme == "git":
        # This protocol knows no login: whatever stands there as one is not needed, and not shown.
        host, slash, path = git_url.removeprefix("git://").partition("/")
        return Source(f"git://{host.rpartition('@')[2]}{slash}{path}", Transport.GIT)
    if scheme == "file":
        return Source(git_url, Transport.LOCAL)
    raise _refused(git_url)


def choose_login(
    source: Source, server_token: str | None, own_token: str | None, own_hosts: tuple[str, ...] | None
) -> tuple[Login | None, OwnToken]:
    """What to log in with: the server's token, else what the URL held, else our own token, else nothing.

    Our own goes to ``own_hosts`` (``host`` or ``host:port``) only; None is every host that is reached by
    https. The server and the URL name a repository and its credentials together, so theirs belong there.

    The user named in the URL stays: deploy tokens of some hosts are bound to one.
    """
    if source.transport is not Transport.HTTP:
        return None, OwnToken.UNUSED
    host = urlsplit(source.origin).hostname or ""
    user = source.user or _USERS.get(host, DEFAULT_USER)
    token = _clean(server_token) or source.password
    if token:
        return Login(source.origin, user, token), OwnToken.UNUSED
    token = _clean(own_token)
    own = _where_to(source, own_hosts) if token else OwnToken.UNUSED
    if own in {OwnToken.SENT, OwnToken.SENT_UNNAMED}:
        return Login(source.origin, user, token), own
    if source.user:
        # https://TOKEN@host/…: the token stands where the user would, as git hosts document it.
        return Login(source.origin, source.user, ""), own
    return None, own


def shown(git_url: str) -> str:
    """``git_url`` for people: what stands before an @ or in a query may be a password."""
    scheme, slashes, rest = git_url.partition("://")
    place, query, _ = (rest if slashes else git_url).partition("?")
    return scheme * bool(slashes) + slashes + place.rpartition("@")[2] + ("?…" if query else "")


def check_ref(branch: str) -> str:
    """Return ``branch`` if git allows it for a branch or tag, else raise DeploymentRejected."""
    if not branch or _BAD_REF.search(branch):
        raise DeploymentRejected(f"deployment.branch: {branch!r} cannot be the name of a branch or tag")
    return branch


def check_parent(parent: str) -> str:
    """Return ``parent`` if a folder beside our own, dotted files can have that name, else raise."""
    if _BAD_PARENT.search(parent):
        raise DeploymentRejected(f"queue name {parent!r} cannot name a folder")
    return parent


def check_inside(option: str, path: str) -> str:
    """Return ``path`` without needless parts (empty: the folder itself) if it can only lead downwards.

    Raises :class:`~appliance.errors.DeploymentRejected` naming ``option`` for an absolute path, a
    ``..``, or one into git's own folder. Links are looked at where the files are.
    """
    parts = PurePosixPath(path).parts
    inside = not path.startswith(("/", "-", "~")) and "\\" not in path and path.isprintable()
    if not inside or ".." in parts or ".git" in {part.lower() for part in parts}:
        raise DeploymentRejected(f"{option}: {path!r} must be a relative path inside the repository")
    return "/".join(parts)


def _http(git_url: str) -> Source:
    try:
        parts = urlsplit(git_url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise _refused(git_url) from None
    if not parts.hostname:
        raise _refused(git_url)
    if parts.query:
        # Git would pass it on as an argument of a program, and append its own path to it.
        raise DeploymentRejected(
            f"deployment.git_url: {shown(git_url)!r} has a query, which no git host reads: leave it out, and "
            "give a token as the server's git_token or as RUNQY_GIT_TOKEN"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Source(
        url=parts._replace(netloc=f"{host}{port}", fragment="").geturl(),
        transport=Transport.HTTP,
        origin=f"{parts.scheme}://{host}{port}",
        user=_clean(unquote(parts.username or "")),
        password=_clean(unquote(parts.password or "")),
    )


def _ssh(git_url: str) -> Source:
    """SSH keeps the user, who is part of the address, and has no use for a password."""
    try:
        parts = urlsplit(git_url)
    except ValueError:
        raise _refused(git_url) from None
    if not parts.hostname or parts.hostname.startswith("-"):
        raise _refused(git_url)
    user, at, host = parts.netloc.rpartition("@")
    return Source(parts._replace(netloc=user.partition(":")[0] + at + host).geturl(), Transport.SSH)


def _where_to(source: Source, hosts: tuple[str, ...] | None) -> OwnToken:
    if hosts is None:
        return OwnToken.SENT_UNNAMED if source.encrypted else OwnToken.WITHHELD
    parts = urlsplit(source.origin)
    host = parts.netloc.removesuffix(f":{parts.port}").lower()
    port = parts.port or (443 if source.encrypted else 80)
    return OwnToken.SENT if {host, f"{host}:{port}"} & set(hosts) else OwnToken.WITHHELD


def _clean(secret: str | None) -> str:
    """Without the line break that files and here-documents leave; one inside would end git's line early."""
    text = (secret or "").strip()
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise DeploymentRejected("the git token or password holds line breaks or control characters")
    return text


def _refused(git_url: str) -> DeploymentRejected:
    return DeploymentRejected(f"deployment.git_url: {shown(git_url)!r} must be an {_ALLOWED}")
