"""What a program may reach of the file system, and the rules that say so to a kernel which only allows. Pure.

A :class:`Domain` names folders and files with the access to what is at and below each of them, the nearest
name above a path decides. Landlock knows no exceptions, only grants that hold for everything below. So
:func:`rules` never grants a folder on the way to an exception more than that exception has: it grants what
else is in that folder, entry by entry. What that costs: a new entry made in such a folder afterwards, by
anyone, is in no grant. :func:`ways` says which folders these are.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from enum import IntEnum
from pathlib import Path
from types import MappingProxyType

from appliance.values import value_class

_ROOT = Path("/")

#: The entries of a folder that are no symbolic links: a rule for a link would be none for what it leads to.
Entries = Callable[[Path], list[Path]]


class Access(IntEnum):
    """What is allowed; each includes those before it."""

    #: Nothing. Whether something is there and how large it is no rule of Landlock can hide.
    NONE = 0
    #: The names in a folder.
    LIST = 1
    #: Reading, running programs.
    READ = 2
    #: Everything: writing, making, removing, renaming.
    FULL = 3


@value_class
class Domain:
    """``paths`` maps absolute paths without links to the access below each; ``elsewhere`` is for the rest.

    ``scoped`` keeps signals and connections to abstract sockets from leaving the domain.
    """

    paths: Mapping[Path, Access] = field(default_factory=lambda: MappingProxyType({}))
    elsewhere: Access = Access.FULL
    scoped: bool = True

    def access(self, path: Path) -> Access:
        """The access to ``path``, an absolute path without links."""
        for place in (path, *path.parents):
            if place in self.paths:
                return self.paths[place]
        return self.elsewhere


def rules(domain: Domain, entries: Entries) -> Iterator[tuple[Path, Access]]:
    """What to grant so that every path has its access; ``entries`` lists a folder (empty where it cannot)."""
    # The least access of anything below each folder on a way.
    least_below: dict[Path, Access] = {}
    for place, access in domain.paths.items():
        for above in place.parents:
            least_below[above] = min(access, least_below.get(above, Access.FULL))
    frontier = [(_ROOT, domain.paths.get(_ROOT, domain.elsewhere), Access.NONE)]
    while frontier:
        path, access, granted = frontier.pop()
        below = least_below.get(path, access)
        least = min(access, below)
        if below is Access.NONE and access >= Access.READ:
            # Names are no secret, and programs list the folders they walk through.
            least = Access.LIST
        if least > granted:
            yield path, least
            granted = least
        if path in least_below:
            frontier += [(entry, domain.paths.get(entry, access), granted) for entry in entries(path)]


def ways(domain: Domain) -> list[Path]:
    """The folders of full access in which no new entry can be made, because of what lies below them."""
    found = set()
    for place, access in domain.paths.items():
        found |= {above for above in place.parents if access < domain.access(above) is Access.FULL}
    return sorted(found)
