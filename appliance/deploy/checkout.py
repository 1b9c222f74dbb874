"""Task code in a folder: cloned at first, brought to the remote's tip later, repaired when half-built."""

import os
from collections.abc import Callable
from itertools import chain, count
from pathlib import Path
from typing import TypeVar

import structlog

from appliance.deploy.files import read_json, remove, write_json
from appliance.deploy.git import Git, Tip
from appliance.deploy.job import Wanted
from appliance.deploy.plan import (
    Checkout,
    CheckoutStep,
    can_stay,
    plan_checkout,
    read_checkout,
    to_record,
)
from appliance.deploy.slots import Slot
from appliance.errors import (
    CommandFailed,
    DeploymentError,
    DeploymentRejected,
    DeploymentUnavailable,
    OutOfRoom,
    RepositoryGone,
    SlotInUse,
)

log = structlog.get_logger()

T = TypeVar("T")
#: What earlier versions had inside the folder, by which theirs are known; they are replaced.
_FORMERLY = Path(".git", "runqy.json")
#: Makes an attempt again, a configured number of times, while it raises DeploymentUnavailable.
Insist = Callable[[str, Callable[[], T]], T]


class Checkouts:
    """Brings ``slot`` to what is wanted, for the queue ``parent``.

    ``make_git`` gives the :class:`~appliance.deploy.git.Git` of a slot; ``insist`` is how often
    a remote is asked.
    """

    def __init__(
        self, parent: str, slot: Slot, make_git: Callable[[Slot], Git], insist: Insist[Checkout]
    ) -> None:
        self._log = log.bind(parent=parent)
        self._slot = slot
        self._make_git = make_git
        self._insist = insist
        #: What an operator should know of how it went.
        self.notes: list[str] = []
        #: Why the repository could not be asked for the code that is there; empty where it was.
        self.repository_problem = ""
        #: What was there before an update, and would do.
        self._earlier: Checkout | None = None

    def bring_to(self, wanted: Wanted, *, frozen: bool = False, may_stay: bool = True) -> Checkout:
        """Bring the folder to what is ``wanted`` and return what is there afterwards.

        A ``frozen`` folder is left alone: :class:`~appliance.errors.SlotInUse` where it would have to change.
        Raises :class:`~appliance.errors.DeploymentError`. A remote that cannot be reached, or gives the code
        no longer, is no reason to where ``may_stay`` is set and the same repository, branch and folder are
        there, whole, from an earlier start: a host's outage must not stop workers that have good code.
        """
        git = self._make_git(self._slot)
        found = read_checkout(read_json(self._slot.checkout_record))
        head = git.head() if found else None
        step, reason = plan_checkout(found, head, wanted.url, wanted.code_path)
        fits = found is not None and can_stay(found, wanted.url, wanted.ref, wanted.code_path)
        earlier = found if may_stay and fits else None
        try:
            now = self._insist("git", lambda: self._attempt(git, head, step, reason, wanted, frozen))
        except (DeploymentUnavailable, RepositoryGone) as exc:
            if earlier is None:
                raise
            if not frozen:
                self._restore(git, earlier, exc)
            self._stay(earlier, exc)
            return earlier
        self._earlier = earlier if earlier != now else None
        return now

    def go_back(self, exc: DeploymentUnavailable) -> Checkout:
        """Return to the code of an earlier start, because the packages of the newest cannot be had.

        Raises ``exc``, which says why, where there is no such code.
        """
        earlier = self._earlier
        if earlier is None:
            raise exc
        self._restore(self._make_git(self._slot), earlier, exc)
        write_json(self._slot.checkout_record, to_record(earlier))
        self.repository_problem = (
            "packages of the newest commit cannot be had; "
            f"commit {earlier.commit} of an earlier start is used"
        )
        self.notes.append(self.repository_problem)
        self._log.warning("deploy.packages_unavailable", commit=earlier.commit, error=str(exc))
        return earlier

    def _stay(self, found: Checkout, exc: DeploymentError) -> None:
        match exc:
            case RepositoryGone():
                why = "the repository refuses the code"
            case OutOfRoom():
                why = "a disk is full, or memory ran out, while the repository was read"
            case _:
                why = "the repository cannot be reached"
        self.repository_problem = f"{why}; commit {found.commit} of an earlier start is used"
        self.notes.append(self.repository_problem)
        self._log.warning("deploy.repository_unavailable", commit=found.commit, error=str(exc))

    def _attempt(
        self, git: Git, head: str | None, step: CheckoutStep, reason: str, wanted: Wanted, frozen: bool
    ) -> Checkout:
        tip = git.tip(wanted.ref)
        if frozen:
            return self._as_it_is(git, step, reason, tip, wanted)
        self._log.info("deploy.code", step=step.value, reason=reason, ref=tip.ref)
        if step is CheckoutStep.UPDATE:
            try:
                return self._update(git, head, tip, wanted)
            except CommandFailed as exc:
                self._log.warning("deploy.recloned", reason=str(exc))
        return self._clone(tip, wanted)

    def _as_it_is(self, git: Git, step: CheckoutStep, reason: str, tip: Tip, wanted: Wanted) -> Checkout:
        head = git.head()
        if step is not CheckoutStep.UPDATE or head is None:
            raise SlotInUse(f"another clone is needed: {reason}")
        if head != tip.commit:
            raise SlotInUse(f"it has commit {head}, and {tip.ref} is at {tip.commit}")
        return Checkout(wanted.url, wanted.ref, wanted.code_path, head)

    def _update(self, git: Git, head: str | None, tip: Tip, wanted: Wanted) -> Checkout:
        # What an earlier attempt brought may be newer than ``head``; then it is fetched once more.
        git.forget_interruption()
        commit = head if head == tip.commit else git.fetch(tip)
        git.check_out(commit)
        self._complete(git, commit)
        return self._finished(self._slot, Checkout(wanted.url, wanted.ref, wanted.code_path, commit))

    def _complete(self, git: Git, commit: str) -> None:
        """Bring the content of files that Git LFS keeps elsewhere, where an earlier checkout could not."""
        pointers = git.pointers()
        if pointers and git.has_lfs:
            git.fetch_large(commit)
            # Git takes what it wrote itself for up to date, and would leave them as they are.
            for path in pointers:
                path.unlink()
            git.check_out(commit)
            pointers = git.pointers()
        if pointers:
            first = pointers[0].relative_to(git.folder)
            why = "their content was not fetched" if git.has_lfs else "git-lfs is not installed"
            # Without a file's name, which the repository chose: the status page shows notes.
            note = f"{len(pointers)} files are only pointers to content in Git LFS: {why}"
            self.notes.append(note)
            self._log.warning("deploy.lfs_pointers", files=len(pointers), first=str(first), reason=why)

    def _restore(self, git: Git, found: Checkout, exc: DeploymentError) -> None:
        """Undo an interrupted update; the clone still has all objects of the commit it was at."""
        git.forget_interruption()
        try:
            git.check_out(found.commit)
        except (CommandFailed, DeploymentUnavailable, RepositoryGone):
            raise exc from None

    def _clone(self, tip: Tip, wanted: Wanted) -> Checkout:
        unfinished = self._slot.unfinished
        _remove(unfinished)
        git = self._make_git(unfinished)
        try:
            git.create()
            commit = git.fetch(tip)
            git.check_out(commit)
            self._complete(git, commit)
        except CommandFailed as exc:
            raise DeploymentRejected(str(exc)) from exc
        checkout = Checkout(wanted.url, wanted.ref, wanted.code_path, commit)
        self._finished(unfinished, checkout)
        self._replace_by(unfinished)
        return checkout

    def _finished(self, slot: Slot, checkout: Checkout) -> Checkout:
        if (slot.folder / ".gitmodules").exists():
            self.notes.append("the repository has submodules; they are not checked out")
            self._log.warning("deploy.submodules_left_out")
        write_json(slot.checkout_record, to_record(checkout))
        return checkout

    def _replace_by(self, clone: Slot) -> None:
        """Put ``clone`` in the slot's place. Another clone goes, any other folder stays beside it.

        A worker that is killed on the way leaves a slot without records, which is made again: what is kept
        moves away first and comes last.
        """
        slot, old = self._slot, self._slot.replaced
        is_ours = any(map(os.path.lexists, (slot.kept, old.kept))) or (slot.folder / _FORMERLY).exists()
        for path in (old.folder, old.venv_dir, old.kept / "before"):
            remove(path)
        old.kept.mkdir(exist_ok=True)
        _move(slot.kept, old.kept / "before")
        if is_ours:
            _move(slot.folder, old.folder)
        elif os.path.lexists(slot.folder):
            aside = _unused(slot.folder.with_name(f"{slot.folder.name}.before"))
            slot.folder.rename(aside)
            self.notes.append(f"{slot.folder} was no clone of a worker's; it is {aside.name} now")
            self._log.warning("deploy.folder_moved_aside", folder=str(slot.folder), now=str(aside))
        clone.folder.rename(slot.folder)
        clone.kept.rename(slot.kept)
        _remove(old)


def sweep(slot: Slot) -> None:
    """Remove what workers left beside the slot that were killed. The caller holds the parent queue's lock."""
    _remove(slot.unfinished)
    # While a slot is not finished, what it replaces shows that its folder is a worker's.
    if slot.checkout_record.exists():
        _remove(slot.replaced)


def _remove(slot: Slot) -> None:
    # What is kept goes last: while it is there, the folder is known to be a worker's.
    for path in (slot.folder, slot.venv_dir, slot.kept):
        remove(path)


def _move(path: Path, to: Path) -> None:
    if os.path.lexists(path):
        path.rename(to)


def _unused(path: Path) -> Path:
    numbered = (path.with_name(f"{path.name}.{number}") for number in count(2))
    return next(candidate for candidate in chain([path], numbered) if not candidate.exists())
