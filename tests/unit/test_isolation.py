"""Isolation without a kernel: which rules a domain becomes, what is closed, and what is reported."""

import errno
import os
import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance.config.settings import (
    DeploymentSettings,
    GitSettings,
    IsolationSettings,
    RedisSettings,
    ServerSettings,
    Settings,
    WorkerSettings,
)
from appliance.isolation import hardening, kept, landlock
from appliance.isolation.domain import Access, Domain, rules, ways
from appliance.isolation.places import Code, Places, code_folder, task_places
from appliance.isolation.report import Kernel, Level, Protection, report, uses_landlock

NONE, LIST, READ, FULL = Access


def _entries(files: list[str]) -> Mapping[Path, list[Path]]:
    """A file system that has these paths."""
    there: dict[Path, set[Path]] = {}
    for name in files:
        path = Path(name)
        for child, folder in zip((path, *path.parents), path.parents, strict=False):
            there.setdefault(folder, set()).add(child)
    return {folder: sorted(children) for folder, children in there.items()}


def _granted(domain: Domain, files: list[str]) -> dict[str, Access]:
    """What the rules allow for each path, as the kernel has it: what any rule at it or above grants."""
    entries = _entries(files)
    made = dict(rules(domain, lambda folder: entries.get(folder, [])))
    return {name: max(made.get(place, NONE) for place in (Path(name), *Path(name).parents)) for name in files}


FILES = [
    "/etc/passwd",
    "/run/secrets/key",
    "/run/secrets/model",
    "/state/outbox",
    "/var/lib/code/mine/task.py",
    "/var/lib/code/theirs/task.py",
    "/opt/worker/bin/python",
]


def test_without_exceptions_one_rule_is_enough() -> None:
    assert list(rules(Domain(), lambda _: [])) == [(Path("/"), FULL)]


def test_what_is_beside_a_closed_path_stays_open() -> None:
    closed = Domain(
        {
            Path("/run/secrets/key"): NONE,
            Path("/state"): NONE,
            Path("/var/lib/code"): NONE,
            Path("/var/lib/code/mine"): FULL,
            Path("/opt/worker"): READ,
        }
    )

    assert _granted(closed, FILES) == {
        "/etc/passwd": FULL,
        "/run/secrets/key": LIST,  # of no use for a file: the right is one of folders
        "/run/secrets/model": FULL,
        "/state/outbox": LIST,
        "/var/lib/code/mine/task.py": FULL,
        "/var/lib/code/theirs/task.py": LIST,
        "/opt/worker/bin/python": READ,
    }


def test_where_all_is_closed_only_what_is_named_is_open() -> None:
    strict = Domain({Path("/etc"): READ, Path("/var/lib/code/mine"): FULL}, elsewhere=NONE)

    granted = _granted(strict, FILES)

    assert {name: access for name, access in granted.items() if access} == {
        "/etc/passwd": READ,
        "/var/lib/code/mine/task.py": FULL,
    }


def test_a_folder_in_which_nothing_new_can_be_made_is_named() -> None:
    domain = Domain({Path("/a/b/secret"): NONE, Path("/c"): NONE, Path("/c/d/open"): FULL})

    assert ways(domain) == [Path("/"), Path("/a"), Path("/a/b")]


@pytest.mark.parametrize("seed", range(200))
def test_no_path_ever_gets_more_than_its_domain_says_nor_less(seed: int) -> None:
    rng = random.Random(seed)
    names = [
        "/" + "/".join(rng.choice("abc") for _ in range(rng.randint(1, 5))) for _ in range(rng.randint(1, 30))
    ]
    # A path is a file, or a folder with something in it.
    files = [name for name in names if not any(other.startswith(name + "/") for other in names)]
    places = [Path(rng.choice(files)) for _ in range(rng.randint(0, 5))]
    places = [rng.choice([place, *place.parents]) for place in places]
    domain = Domain(
        {place: rng.choice((NONE, READ, FULL)) for place in places}, elsewhere=rng.choice((NONE, FULL))
    )

    for name, granted in _granted(domain, files).items():
        wanted = domain.access(Path(name))
        # Names may be listed where nothing else may be done.
        assert granted == wanted or (wanted is NONE and granted is LIST)


SETTINGS = Settings(
    ServerSettings("http://server", "key"),
    WorkerSettings(("inference",), state_dir=Path("/state")),
    RedisSettings(cert_file=Path("/tls/cert"), key_file=Path("/tls/key"), ca_file=Path("/tls/ca")),
    DeploymentSettings(Path("/code")),
    isolation=IsolationSettings(secret_files=(Path("/run/secrets/key"),), task_paths=(Path("/code/shared"),)),
    git=GitSettings(Path("/ssh/key")),
)
INSTALLATION = {Path("/opt/worker"): READ}


def _places(settings: Settings = SETTINGS, **env: str) -> Places:
    code = Code(Path("/code/mine"), Path("/usr/bin/python3"), None, env)
    return task_places(settings, code, INSTALLATION, lambda path: path)


@pytest.mark.parametrize(
    ("path", "access"),
    [
        ("/state/outbox", NONE),
        ("/run/secrets/key", NONE),
        ("/ssh/key", NONE),
        ("/tls/key", NONE),
        ("/code/theirs/task.py", NONE),
        ("/code/.mine.lock", NONE),
        ("/opt/worker/bin/python", READ),
        ("/code/mine/task.py", FULL),
        ("/code/shared/model", FULL),
        ("/tls/ca", FULL),
        ("/run/secrets/other", FULL),
        ("/models/large", FULL),
        ("/tmp/x", FULL),
    ],
)
def test_what_is_the_workers_own_is_closed_and_the_rest_is_not(path: str, access: Access) -> None:
    assert _places().domain.access(Path(path)) is access


@pytest.mark.parametrize(
    ("path", "access"),
    [
        ("/state/outbox", NONE),
        ("/models/large", NONE),
        ("/home/other/x", NONE),
        ("/home/me/.cache/model", FULL),
        ("/own/tmp/x", FULL),
        ("/usr/lib/libc.so", READ),
        ("/dev/shm/x", FULL),
        ("/tmp/x", NONE),
        ("/code/mine/task.py", FULL),
    ],
)
def test_strict_opens_what_a_program_needs_and_nothing_else(path: str, access: Access) -> None:
    strict = replace(SETTINGS, isolation=replace(SETTINGS.isolation, level="strict"))

    assert _places(strict, HOME="/home/me", TMPDIR="/own/tmp").domain.access(Path(path)) is access


def test_a_home_that_is_the_root_opens_nothing_in_strict() -> None:
    strict = replace(SETTINGS, isolation=replace(SETTINGS.isolation, level="strict"))

    assert _places(strict, HOME="/").domain.access(Path("/models/large")) is NONE


@pytest.mark.parametrize("env", [{}, {"TMPDIR": "/scratch"}])
def test_what_lies_among_temporary_files_cannot_be_closed_and_is_named(env: dict[str, str]) -> None:
    state = Path(env.get("TMPDIR", "/tmp")) / "state"
    settings = replace(SETTINGS, worker=replace(SETTINGS.worker, state_dir=state))

    places = _places(settings, **env)

    assert list(places.open) == [state]
    assert places.domain.access(state.parent / "new") is FULL
    assert state.parent not in ways(places.domain)


def test_an_environment_beside_the_code_is_read_and_not_written() -> None:
    code = Code(Path("/code/mine"), Path("/code/.mine.venv/bin/python"), Path("/code/.mine.venv"), {})

    domain = task_places(SETTINGS, code, INSTALLATION, lambda path: path).domain

    assert domain.access(Path("/code/.mine.venv/bin/python")) is READ
    assert domain.access(Path("/code/.theirs.venv/bin/python")) is NONE


def test_among_temporary_files_an_environment_closes_no_folder_above_it() -> None:
    settings = replace(SETTINGS, deployment=DeploymentSettings(Path("/tmp/code")))
    code = Code(Path("/tmp/code/mine"), Path("/tmp/code/.venv/bin/python"), Path("/tmp/code/.venv"), {})

    domain = task_places(settings, code, INSTALLATION, lambda path: path).domain

    assert not [way for way in ways(domain) if way.is_relative_to("/tmp")]


@pytest.mark.parametrize(
    ("deployment", "code", "folder"),
    [
        ("/code", "/code/mine/sub/folder", "/code/mine"),
        ("/code", "/code/mine", "/code/mine"),
        ("/code", "/app", "/app"),
        ("/code", "/code", "/code"),
    ],
)
def test_all_of_a_repository_belongs_to_its_code(deployment: str, code: str, folder: str) -> None:
    assert code_folder(Path(deployment), Path(code)) == Path(folder)


NEW = Kernel(landlock_abi=7, seccomp=True)


def test_a_new_kernel_lacks_nothing() -> None:
    made = report(Level.AUTO, NEW, {})

    assert made.in_force == tuple(Protection)
    assert not made.lacking


@pytest.mark.parametrize(
    ("kernel", "lacking"),
    [
        (Kernel(6, seccomp=False), {Protection.LIMITS}),
        (Kernel(5, seccomp=True), {Protection.SIGNALS, Protection.SOCKETS}),
        (Kernel(2, seccomp=True), {Protection.SIGNALS, Protection.SOCKETS, Protection.TRUNCATION}),
        (
            Kernel(1, seccomp=True),
            {
                Protection.SIGNALS,
                Protection.SOCKETS,
                Protection.TRUNCATION,
                Protection.FILES,
                Protection.PROCESSES,
            },
        ),
    ],
)
def test_what_an_older_kernel_lacks_is_named(kernel: Kernel, lacking: set[Protection]) -> None:
    made = report(Level.AUTO, kernel, {})

    assert set(made.lacking) == lacking
    assert all(made.lacking.values())


def test_the_first_landlock_is_for_strict_alone() -> None:
    kernel = Kernel(1)

    assert uses_landlock(Level.STRICT, kernel)
    assert not uses_landlock(Level.AUTO, kernel)
    assert not uses_landlock(Level.REQUIRE, kernel)


def test_what_is_found_at_the_start_counts_as_lacking() -> None:
    assert report(Level.AUTO, NEW, {Protection.INIT: "why"}).lacking == {Protection.INIT: "why"}


def test_a_secret_of_process_1_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hardening, "hide", lambda: True)
    monkeypatch.setattr(hardening, "_shows", lambda environ, secrets: "s3cret" in secrets)

    assert Protection.INIT not in hardening.harden([])
    reason = hardening.harden(["s3cret"])[Protection.INIT]
    assert "RUNQY_API_KEY_FILE" in reason
    assert "--init" in reason


def test_with_isolation_off_only_the_descendants_are_still_ended() -> None:
    assert report(Level.OFF, NEW, {}).in_force == (Protection.DESCENDANTS,)


def test_a_folder_whose_time_was_set_back_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, made = tmp_path / "deployment", []
    folder.mkdir()

    def make(rules: Iterable[tuple[Path, Access]], **_: object) -> int:
        made.append([path.name for path, _ in rules])
        return os.open(os.devnull, os.O_RDONLY)

    monkeypatch.setattr(landlock, "make", make)
    # Of this folder alone: those above it may change at any time.
    monkeypatch.setattr(kept, "rules", lambda _, entries: ((path, FULL) for path in entries(folder)))
    rulesets, before = kept.Rulesets(abi=6), folder.stat()
    os.close(rulesets.get(Domain()))
    os.close(rulesets.get(Domain()))

    _wait_for_another_tick(tmp_path / "probe", before.st_ctime_ns)
    (folder / "code").mkdir()
    # Task code may do this to any folder of its user's, closed or not.
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.close(rulesets.get(Domain()))

    assert made == [[], ["code"]]


def _wait_for_another_tick(probe: Path, before_ns: int) -> None:
    """The file system's clock is coarse: until it shows another time than ``before_ns``."""
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        probe.touch()
        if probe.stat().st_ctime_ns != before_ns:
            return
    pytest.fail("the file system's clock stands still")


@pytest.mark.parametrize("step", ["open", "scandir"])
def test_rules_that_were_made_without_a_descriptor_left_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    real = getattr(os, step)
    short = True

    def exhausted(path: Any, *rest: Any) -> Any:
        if short and Path(path).is_relative_to(tmp_path):
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path, *rest)

    (tmp_path / "program").touch()
    monkeypatch.setattr(os, step, exhausted)
    monkeypatch.setattr(landlock, "_call", lambda *_: os.dup(0))
    monkeypatch.setattr(kept, "rules", lambda _, entries: [(path, FULL) for path in entries(tmp_path)])
    rulesets = kept.Rulesets(abi=6)

    with pytest.raises(OSError, match="Too many open files"):
        rulesets.get(Domain({}))

    short = False
    os.close(rulesets.get(Domain({})))
