"""What of the page is looked at: everything, a queue or a state, one task, or one worker. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from harness.queue.views import STATES

#: Longest name or id that is looked up.
_LONGEST = 500


@dataclass(frozen=True)
class View:
    """Empty is everything. ``queue`` and ``state`` narrow the list of tasks; ``queue`` may have ``task``."""

    queue: str = ""
    state: str = ""
    task: str = ""
    worker: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "View":
        """What a query asks for; a state there is not is none."""
        queue, state, task, worker = (query.get(name, "")[:_LONGEST] for name in FIELDS)
        return cls(queue, state if state in STATES else "", task, worker)

    @property
    def query(self) -> str:
        """The query, which may be empty."""
        named = {name: getattr(self, name) for name in FIELDS}
        # A name in Redis may be any bytes; what has no UTF-8 is looked up as what was shown.
        return urlencode({name: value for name, value in named.items() if value}, errors="replace")

    @property
    def url(self) -> str:
        """The page's address for it."""
        return f"/?{self.query}" if self.query else "/"


FIELDS = tuple(View.__dataclass_fields__)
