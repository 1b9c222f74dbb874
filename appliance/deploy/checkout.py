"""Task code in a folder: cloned at first, brought to the remote's tip later, repaired when half-built."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import TypeVar

import structlog

from appliance.deploy.files import read_json, remove, write_json
from appliance.deploy.git import Git, Tip
from appliance.deploy.plan import (
    Checkout,
    CheckoutStep,
    can_stay,
    plan_checkout,
    read_checkout,
    to_record,
)
from appliance.deploy.slots import RECORD
from appliance.errors import CommandFailed, DeploymentRejected, DeploymentUnavailable, SlotInUse

log = structlog.get_logger()

T = TypeVar("T")
#: Calls what it is given again, a configured number of times, while that is Unavailable.
Insist = Callable[[str, Callable[[], T]], T]


@dataclass(frozen=True)
class Wanted:
    """What to have: a repository's address without credentials, a branch or tag, and a folder or ``""``."""

    url: str
    ref: str
    code_path: str


class Checkouts:
    """Brings ``folder`` to what is wanted, for the queue ``parent``.

    ``make_git`` gives the :class:`~appliance.deploy.git.Git` of a folder; ``insist`` is how often
    a remote is asked.
    """

    def __init__(
        self, parent: str, folder: Path, make_git: Callable[[Path], Git], insist: Insist[Checkout]
    ) -> None:
        self._log = log.bind(queue=parent)
        self._folder = folder
        self._make_git = make_git
        self._insist = insist
        #: What an operator should know of how it went.
        self.notes: list[str] = []

    def bring_to(self, wanted: Wanted, *, frozen: bool = False, may_stay: bool = True) -> Checkout:
        """Returns what is there afterwards.

        A ``frozen`` folder is left alone: :class:`~appliance.errors.SlotInUse` where it would have to change.
        Raises :class:`~appliance.errors.DeploymentError`; a remote that cannot be reached is none
        where the same repository, branch and folder are there, whole, from an earlier start.
        """
        git = self._make_git(self._folder)
        found = read_checkout(read_json(self._folder / ".git" / RECORD))
        head = git.head() if found else None
        step, reason = plan_checkout(found, head, wanted.url, wanted.code_path)
        try:
            return self._insist("git", lambda: self._attempt(git, step, reason, wanted, frozen))
        except DeploymentUnavailable as exc:
            if found is None or not may_stay or not can_stay(found, wanted.url, wanted.ref, wanted.code_path):
                raise
            if not frozen:
                self._restore(git, found, exc)
            note = f"the repository cannot be reached; commit {found.commit} of an earlier start is used"
            self.notes.append(note)
            self._log.warning("deploy.remote_unreachable", commit=found.commit, error=str(exc))
            return found

    def _attempt(self, git: Git, step: CheckoutStep, reason: str, wanted: Wanted, frozen: bool) -> Checkout:
        tip = git.tip(wanted.ref)
        if frozen:
            return self._as_it_is(git, step, reason, tip, wanted)
        self._log.info("deploy.code", step=step.value, reason=reason, ref=tip.ref)
        if step is CheckoutStep.UPDATE:
            try:
                return self._update(git, tip, wanted)
            except CommandFailed as exc:
                self._log.warning("deploy.clone_anew", reason=str(exc))
        return self._clone(tip, wanted)

    def _as_it_is(self, git: Git, step: CheckoutStep, reason: str, tip: Tip, wanted: Wanted) -> Checkout:
        head = git.head()
        if step is not CheckoutStep.UPDATE or head is None:
            raise SlotInUse(f"another clone is needed: {reason}")
        if head != tip.object_id:
            raise SlotInUse(f"it has commit {head}, and {tip.ref} is at {tip.object_id}")
        return Checkout(wanted.url, wanted.ref, wanted.code_path, head)

    def _update(self, git: Git, tip: Tip, wanted: Wanted) -> Checkout:
        git.forget_interruption()
        head = git.head()
        commit = head if head == tip.object_id else git.fetch(tip)
        git.check_out(commit)
        return self._finished(self._folder, Checkout(wanted.url, wanted.ref, wanted.code_path, commit))

    def _restore(self, git: Git, found: Checkout, exc: DeploymentUnavailable) -> None:
        """Undo an update that broke off in the middle; what it needs is here from when it was whole."""
        git.forget_interruption()
        try:
            git.check_out(found.commit)
        except (CommandFailed, DeploymentUnavailable):
            raise exc from None

    def _clone(self, tip: Tip, wanted: Wanted) -> Checkout:
        unfinished = self._folder.with_name(f".{self._folder.name}.new")
        remove(unfinished)
        git = self._make_git(unfinished)
        try:
            git.create(wanted.code_path)
            commit = git.fetch(tip)
            git.check_out(commit)
        except CommandFailed as exc:
            raise DeploymentRejected(str(exc)) from exc
        checkout = Checkout(wanted.url, wanted.ref, wanted.code_path, commit)
        self._finished(unfinished, checkout)
        self._replace_by(unfinished)
        return checkout

    def _finished(self, folder: Path, checkout: Checkout) -> Checkout:
        if (folder / ".gitmodules").exists():
            self.notes.append("the repository has submodules; they are not checked out")
            self._log.warning("deploy.submodules_left_out")
        write_json(folder / ".git" / RECORD, to_record(checkout))
        return checkout

    def _replace_by(self, clone: Path) -> None:
        """Put ``clone`` in the folder's place; what we made there goes, what we did not is kept beside it."""
        old = self._folder.with_name(f".{self._folder.name}.old")
        remove(old)
        if (self._folder / ".git" / RECORD).exists():
            self._folder.rename(old)
        elif self._folder.exists():
            kept = _unused(self._folder.with_name(f"{self._folder.name}.before"))
            self._folder.rename(kept)
            self.notes.append(f"{self._folder} was no clone of a worker's; it is {kept.name} now")
            self._log.warning("deploy.folder_moved_aside", folder=str(self._folder), now=str(kept))
        clone.rename(self._folder)
        remove(old)


def _unused(path: Path) -> Path:
    numbered = (path.with_name(f"{path.name}.{number}") for number in count(2))
    return next(candidate for candidate in chain([path], numbered) if not candidate.exists())
