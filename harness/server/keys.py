"""API keys: which role a key has, and what a role may do."""

from collections.abc import Mapping
from dataclasses import dataclass, field

ADMIN, WORKER, CLIENT = "admin", "worker", "client"
#: The statuses with which a key is refused.
REFUSALS = frozenset({401, 403})
#: The role of a route that asks for no key.
PUBLIC = ""


@dataclass(frozen=True)
class Keys:
    """The keys of a server. ``more`` maps other keys to a role, which may be one that opens nothing.

    ``page`` is what the page asks a browser on this machine for, as a password; empty: nothing.
    """

    worker: str = field(default="local-worker-key", repr=False)
    client: str = field(default="local-client-key", repr=False)
    admin: str = field(default="local-admin-key", repr=False)
    more: Mapping[str, str] = field(default_factory=dict, repr=False)
    page: str = field(default="", repr=False)

    def role(self, key: str) -> str:
        """Whose key it is, empty for an unknown one; a key that is several counts as the mightiest."""
        known = {**self.more, self.client: CLIENT, self.worker: WORKER, self.admin: ADMIN}
        return known.get(key, "") if key else ""


def presented(headers: Mapping[str, str]) -> str:
    """The key that a request carries; ``headers`` by lower-case name. ``Bearer`` is case-sensitive."""
    authorization = headers.get("authorization", "")
    if authorization.startswith("Bearer "):
        return authorization.removeprefix("Bearer ")
    return headers.get("x-api-key", "")


def refusal(role: str, wanted: str, *, admin_alone: bool) -> tuple[int, str] | None:
    """Why a key of ``role`` does not open a route of ``wanted``: status and text; None where it does.

    ``admin_alone``: the route knows no key but the admin's, so that others are unknown rather than weak.
    """
    if wanted == PUBLIC or role in {ADMIN, wanted}:
        return None
    if not role or admin_alone:
        return 401, "access unauthorized"
    return 403, "insufficient permissions"
