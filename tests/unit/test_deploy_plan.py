"""What deploying decides before it touches anything: steps, addresses, declared dependencies, verdicts."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.deploy import poetry, source
from appliance.deploy.dependencies import Dependencies, find_dependencies
from appliance.deploy.plan import (
    Checkout,
    EnvironmentFacts,
    EnvironmentRecord,
    can_stay,
    plan_checkout,
    plan_environment,
    read_checkout,
    read_environment,
    to_record,
)
from appliance.deploy.project import Project, Style, read_project
from appliance.deploy.requirements import Kind, references
from appliance.deploy.source import Login, Source, Transport, choose_login, parse_source
from appliance.deploy.verdict import Verdict, judge_git, judge_install
from appliance.errors import DeploymentRejected

THERE = Checkout("https://git.test/r.git", "main", "a", "c0ffee")
FACTS = EnvironmentFacts("/usr/bin/python3.11", "cpython 3.11.2", "linux-x86_64", True, "pip")
FOLDER = PurePosixPath("/code")


# The steps.


@pytest.mark.parametrize(
    ("found", "head", "url", "code_path", "step", "reason"),
    [
        (None, None, THERE.url, "a", "clone", "there is no finished clone"),
        (THERE, "c0ffee", "https://git.test/x.git", "a", "clone", "was https://git.test/r.git"),
        (THERE, "c0ffee", THERE.url, "b", "clone", "the folder was a"),
        (
            dataclasses.replace(THERE, code_path=""),
            "c0ffee",
            THERE.url,
            "b",
            "clone",
            "the whole repository",
        ),
        (THERE, None, THERE.url, "a", "clone", "damaged"),
        (THERE, "c0ffee", THERE.url, "a", "update", "the clone is there"),
        (THERE, "another", THERE.url, "a", "update", "the clone is there"),
    ],
)
def test_a_clone_is_updated_where_it_can_be_and_made_anew_where_not(
    found: Checkout | None, head: str | None, url: str, code_path: str, step: str, reason: str
) -> None:
    decided, why = plan_checkout(found, head, url, code_path)

    assert decided.value == step
    assert reason in why


@pytest.mark.parametrize(
    ("url", "ref", "code_path", "stays"),
    [
        (THERE.url, "main", "a", True),
        ("other", "main", "a", False),
        (THERE.url, "other", "a", False),
        (THERE.url, "main", "", False),
    ],
)
def test_only_the_same_thing_stands_in_for_a_remote_that_is_away(
    url: str, ref: str, code_path: str, stays: bool
) -> None:
    assert can_stay(THERE, url, ref, code_path) is stays


def test_an_environment_is_made_anew_for_each_of_its_facts_that_changed_and_the_reason_names_it() -> None:
    for field in dataclasses.fields(FACTS):
        other: Any = False if field.type is bool else "other"
        changed = dataclasses.replace(FACTS, **{field.name: other})
        found = EnvironmentRecord(FACTS, "deps")

        step, why = plan_environment(found, works=True, wanted=changed, dependencies="deps")

        assert step.value == "rebuild"
        assert why == f"{field.name} was {getattr(FACTS, field.name)}"


@pytest.mark.parametrize(
    ("found", "works", "step", "reason"),
    [
        (None, True, "rebuild", "there is no finished environment"),
        (EnvironmentRecord(FACTS, "deps"), False, "rebuild", "its interpreter does not run"),
        (EnvironmentRecord(FACTS, ""), True, "install", "dependencies were not installed to the end"),
        (EnvironmentRecord(FACTS, "others"), True, "install", "dependencies changed"),
        (EnvironmentRecord(FACTS, "deps"), True, "keep", "nothing changed"),
    ],
)
def test_an_environment_is_filled_again_only_for_a_reason(
    found: EnvironmentRecord | None, works: bool, step: str, reason: str
) -> None:
    decided, why = plan_environment(found, works=works, wanted=FACTS, dependencies="deps")

    assert (decided.value, why) == (step, reason)


def test_records_are_read_as_they_were_written() -> None:
    environment = EnvironmentRecord(FACTS, "deps")

    assert read_checkout(json.loads(json.dumps(to_record(THERE)))) == THERE
    assert read_environment(json.loads(json.dumps(to_record(environment)))) == environment


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: None,
        lambda record: [record, record],
        lambda record: {},
        lambda record: {**record, "more": "1"},
        lambda record: dict(list(record.items())[1:]),
        dict.fromkeys,
        lambda record: dict.fromkeys(record, 1),
    ],
)
def test_any_other_record_is_none(spoil: Callable[[dict[str, Any]], object]) -> None:
    environment = to_record(EnvironmentRecord(FACTS, "deps"))

    assert read_checkout(spoil(to_record(THERE))) is None
    assert read_environment(spoil(environment)) is None
    assert read_environment({**environment, "made_from": spoil(environment["made_from"])}) is None


# Addresses.


@pytest.mark.parametrize(
    ("git_url", "expected"),
    [
        ("https://git.test/r.git", Source("https://git.test/r.git", Transport.HTTP, "https://git.test")),
        (
            "https://user:p%40ss@git.test:8443/r.git",
            Source("https://git.test:8443/r.git", Transport.HTTP, "https://git.test:8443", "user", "p@ss"),
        ),
        ("https://tok@git.test/r", Source("https://git.test/r", Transport.HTTP, "https://git.test", "tok")),
        ("http://[::1]:80/r", Source("http://[::1]:80/r", Transport.HTTP, "http://[::1]:80")),
        ("ssh://git:secret@git.test:22/r", Source("ssh://git@git.test:22/r", Transport.SSH)),
        ("git@git.test:team/r.git", Source("git@git.test:team/r.git", Transport.SSH)),
        ("git.test:r", Source("git.test:r", Transport.SSH)),
        ("git://git.test/r", Source("git://git.test/r", Transport.GIT)),
        ("file:///srv/r.git", Source("file:///srv/r.git", Transport.LOCAL)),
        ("/srv/r.git", Source("/srv/r.git", Transport.LOCAL)),
        ("./a:b", Source("./a:b", Transport.LOCAL)),
    ],
)
def test_an_address_is_taken_apart_and_has_no_secret_left(git_url: str, expected: Source) -> None:
    found = parse_source(git_url)

    assert found == expected
    assert "p@ss" not in repr(found)
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    "git_url",
    [
        "",
        "-oProxyCommand=x",
        "ext::sh -c x",
        "ext::sh",
        "fd::17",
        "https://user:canary@/r",
        "https://user:canary@host:port/r",
        "https://user:canary@host/a b",
        "https://user:canary@host/a\nb",
        "https://user:canary@[::1/r",
        "ftp://user:canary@host/r",
        "javascript://x",
        "ssh://user:canary@-oProxyCommand=x/r",
        "ssh://",
        "git@-oProxyCommand=x:r",
        "-oProxyCommand=x:r",
        "ssh://user:canary@[::1/r",
    ],
)
def test_an_address_that_git_must_not_see_is_refused_without_its_password(git_url: str) -> None:
    with pytest.raises(DeploymentRejected, match=r"deployment\.git_url: .* must be an https") as refused:
        parse_source(git_url)
    assert "canary" not in str(refused.value)


@given(st.text(max_size=30), st.sampled_from(["", "https://", "ssh://", "http://u:p@", "git@"]))
def test_whatever_the_address_it_is_taken_or_refused(text: str, scheme: str) -> None:
    try:
        found = parse_source(scheme + text)
    except DeploymentRejected:
        return
    assert not found.url.startswith("-")
    assert found.url.isprintable() or not found.url.isascii()


HTTPS = parse_source("https://git.test/r.git")
WITH_PASSWORD = parse_source("https://bob:urls@git.test/r.git")
WITH_USER = parse_source("https://bob@git.test/r.git")


@pytest.mark.parametrize(
    ("where", "servers", "ours", "user", "password"),
    [
        (HTTPS, "servers", "ours", "x-access-token", "servers"),
        (HTTPS, "", "ours", "x-access-token", "ours"),
        (HTTPS, None, " ours\n", "x-access-token", "ours"),
        (WITH_PASSWORD, "servers", "ours", "bob", "servers"),
        (WITH_PASSWORD, None, "ours", "bob", "urls"),
        (WITH_USER, None, "ours", "bob", "ours"),
        (WITH_USER, None, None, "bob", ""),
        (parse_source("https://bitbucket.org/r"), "servers", None, "x-token-auth", "servers"),
    ],
)
def test_the_servers_token_wins_over_the_urls_and_that_over_ours(
    where: Source, servers: str | None, ours: str | None, user: str, password: str
) -> None:
    assert choose_login(where, servers, ours) == Login(where.origin, user, password)


@pytest.mark.parametrize("url", ["git@git.test:r", "ssh://git.test/r", "file:///r", "/r", "git://git.test/r"])
def test_a_token_is_for_http_only(url: str) -> None:
    assert choose_login(parse_source(url), "servers", "ours") is None


def test_without_any_token_there_is_no_login() -> None:
    assert choose_login(HTTPS, None, None) is None


@pytest.mark.parametrize("token", ["two\nlines", "nul\0", "tab\there"])
def test_a_token_that_would_end_gits_line_early_is_refused_unseen(token: str) -> None:
    with pytest.raises(DeploymentRejected, match="control characters") as refused:
        choose_login(HTTPS, token, None)
    assert token not in str(refused.value)


@pytest.mark.parametrize("ref", ["main", "release/1.x", "v1.0", "feature/a-b_c", "ünï", "a@b", "HEAD"])
def test_a_branch_git_allows_is_allowed(ref: str) -> None:
    assert source.check_ref(ref) == ref


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "-x",
        "--upload-pack=x",
        "a..b",
        "a b",
        "a:b",
        "a~1",
        "a^",
        "a*",
        "a?",
        "a[",
        "a\\b",
        "@",
        "a@{1}",
        "/a",
        "a/",
        "a//b",
        ".a",
        "a/.b",
        "a.",
        "a.lock",
        "a.lock/b",
        "a\x7f",
        "a\n",
    ],
)
def test_a_branch_git_forbids_is_refused(ref: str) -> None:
    with pytest.raises(DeploymentRejected, match="cannot be the name of a branch or tag"):
        source.check_ref(ref)


@pytest.mark.parametrize(
    ("path", "clean"),
    [("", ""), (".", ""), ("a", "a"), ("./a//b/", "a/b"), ("a b/ü", "a b/ü"), ("..a", "..a")],
)
def test_a_path_inside_is_cleaned(path: str, clean: str) -> None:
    assert source.check_inside("option", path) == clean


@pytest.mark.parametrize(
    "path", ["/a", "..", "a/../../b", "~/a", "-a", ".git", "a/.GIT/hooks", "a\\b", "a\nb", "a\0"]
)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(
        DeploymentRejected, match=r"^option: .* must be a relative path inside the repository"
    ):
        source.check_inside("option", path)


# Declared dependencies.


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("-r base.txt", [(Kind.REQUIREMENTS, "base.txt")]),
        ("-rbase.txt", [(Kind.REQUIREMENTS, "base.txt")]),
        ("--requirement=more/base.txt  # why", [(Kind.REQUIREMENTS, "more/base.txt")]),
        ("-c limits.txt", [(Kind.REQUIREMENTS, "limits.txt")]),
        ("--constraint limits.txt", [(Kind.REQUIREMENTS, "limits.txt")]),
        ("-r https://host/base.txt", []),
        ("-e .", [(Kind.PACKAGE, ".")]),
        ("-e ./lib[extra]", [(Kind.PACKAGE, "./lib")]),
        ("--editable=lib", [(Kind.PACKAGE, "lib")]),
        ("-e git+https://host/r.git#egg=x", []),
        ("-f wheels", [(Kind.LINKS, "wheels")]),
        ("--find-links https://host/links", []),
        ("./lib", [(Kind.PACKAGE, "./lib")]),
        ("lib/thing ; python_version > '3'", [(Kind.PACKAGE, "lib/thing")]),
        ("thing-1.0-py3-none-any.whl --hash=sha256:00", [(Kind.PACKAGE, "thing-1.0-py3-none-any.whl")]),
        ("thing.tar.gz", [(Kind.PACKAGE, "thing.tar.gz")]),
        ("thing @ file:///srv/thing%20x.whl#sha256=0", [(Kind.PACKAGE, "/srv/thing x.whl")]),
        ("thing[a,b] @ file://localhost/srv/thing", [(Kind.PACKAGE, "/srv/thing")]),
        ("thing @ https://host/thing.whl", []),
        ("requests[socks]>=2,<3 ; python_version > '3'", []),
        ("requests==2.0 \\\n  --hash=sha256:00", []),
        ("--index-url https://host/simple", []),
        ("--extra-index-url https://host/simple", []),
        ("# -r commented.txt", []),
        ("", []),
        ("-r \\\nbase.txt", [(Kind.REQUIREMENTS, "base.txt")]),
    ],
)
def test_a_requirements_line_refers_to(line: str, found: list[tuple[Kind, str]]) -> None:
    assert [(reference.kind, reference.path) for reference in references(line)] == found


@given(st.text())
def test_no_requirements_text_is_too_odd(text: str) -> None:
    list(references(text))


class Folder:
    """A repository with a code folder, and what is found there."""

    def __init__(self, root: Path) -> None:
        self.root = root / "repository"
        self.code = self.root / "code"
        self.code.mkdir(parents=True)

    def find(
        self, requirements_file: str = "requirements.txt", commit: str = "c1", poetry: bool = False
    ) -> Dependencies:
        return find_dependencies(self.code, self.root, requirements_file, commit, poetry=poetry)

    def write(self, **files: str) -> "Folder":
        for name, text in files.items():
            (self.code / name.replace("_", ".")).write_text(text)
        return self


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


PEP_621 = '[project]\nname = "x"\ndependencies = ["a"]\n'
POETRY = '[tool.poetry.dependencies]\na = "*"\n'


def test_the_requirements_file_counts_before_the_project_and_that_before_nothing(folder: Folder) -> None:
    assert folder.find().declared_in == "no file"
    folder.write(pyproject_toml=PEP_621)
    assert folder.find().declared_in == Style.PEP_621
    folder.write(requirements_txt="")
    assert folder.find().declared_in == "requirements.txt"


def test_poetry_itself_is_used_only_where_it_is_installed_and_the_dependencies_are_its(
    folder: Folder,
) -> None:
    folder.write(pyproject_toml=POETRY)
    assert folder.find(poetry=True).with_poetry
    assert not folder.find().with_poetry
    folder.write(pyproject_toml=PEP_621 + "[tool.poetry]\n")
    assert not folder.find(poetry=True).with_poetry
    folder.write(pyproject_toml='[project]\nname = "x"\ndynamic = ["dependencies"]\n' + POETRY)
    assert folder.find(poetry=True).with_poetry


def test_what_changes_the_installation_changes_the_fingerprint_and_nothing_else_does(folder: Folder) -> None:
    outside = folder.root.parent / "outside"
    outside.mkdir()
    (outside / "setup.py").write_text("1")
    folder.write(requirements_txt=f"-r more.txt\n{outside}\n", more_txt="a\n-r requirements.txt\n")
    first = folder.find().fingerprint

    folder.write(main_py="code")
    (outside / "__pycache__").mkdir()
    (outside / "__pycache__" / "x.pyc").write_text("litter")
    assert folder.find(commit="c2").fingerprint == first
    folder.write(more_txt="a==2\n-r requirements.txt\n")
    second = folder.find().fingerprint
    (outside / "setup.py").write_text("2")
    third = folder.find().fingerprint

    assert len({first, second, third}) == 3


def test_a_package_of_the_repository_itself_changes_with_the_commit(folder: Folder) -> None:
    folder.write(requirements_txt="./lib\n")
    (folder.code / "lib").mkdir()

    assert folder.find(commit="c1").fingerprint != folder.find(commit="c2").fingerprint
    assert folder.find(commit="c1").fingerprint == folder.find(commit="c1").fingerprint


@pytest.mark.parametrize("name", ["../x.txt", "/etc/passwd", ".git/config"])
def test_a_requirements_file_outside_the_repository_is_refused(folder: Folder, name: str) -> None:
    with pytest.raises(DeploymentRejected, match="requirements_file"):
        folder.find(name)


def test_links_out_of_the_repository_are_refused(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("[project]\n")
    (folder.code / "pyproject.toml").symlink_to(tmp_path / "secret")
    with pytest.raises(DeploymentRejected, match=r"pyproject\.toml is a link"):
        folder.find()
    (folder.code / "requirements.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(DeploymentRejected, match=r"'requirements\.txt' is a link"):
        folder.find()


def test_a_project_that_is_no_toml_is_refused(folder: Folder) -> None:
    with pytest.raises(DeploymentRejected, match=r"pyproject\.toml is not valid TOML"):
        folder.write(pyproject_toml="[project").find()


@pytest.mark.parametrize(
    ("pyproject", "expected"),
    [
        ({}, None),
        ({"tool": {"ruff": {}}}, None),
        ({"project": {"name": "x"}}, Project(Style.PEP_621, ())),
        ({"project": {"dependencies": ["a>1", "b ; x"]}}, Project(Style.PEP_621, ("a>1", "b ; x"))),
        ({"project": {"dynamic": ["version"], "dependencies": ["a"]}}, Project(Style.PEP_621, ("a",))),
        ({"project": {"dynamic": ["dependencies"]}}, Project(Style.BUILT, ("/code",))),
        ({"tool": {"poetry": {"dependencies": {"a": "*"}}}}, Project(Style.POETRY, ("a",))),
        ({"project": {"dependencies": ["a"]}, "tool": {"poetry": {}}}, Project(Style.PEP_621, ("a",))),
    ],
)
def test_a_project_declares(pyproject: dict[str, Any], expected: Project | None) -> None:
    assert read_project(pyproject, None, FOLDER) == expected


@pytest.mark.parametrize(
    "dependencies", ["a", {"a": "1"}, [1], ["-r /etc/passwd"], [" --index-url x"], ["a\nb"]]
)
def test_a_project_whose_dependencies_are_not_requirements_is_refused(dependencies: Any) -> None:
    with pytest.raises(DeploymentRejected, match=r"project\.dependencies"):
        read_project({"project": {"dependencies": dependencies}}, None, FOLDER)


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ("^1.2.3", "a>=1.2.3,<2.0.0"),
        ("^1.2", "a>=1.2,<2.0"),
        ("^1", "a>=1,<2"),
        ("^0.2.3", "a>=0.2.3,<0.3.0"),
        ("^0.0.3", "a>=0.0.3,<0.0.4"),
        ("^0.0", "a>=0.0,<0.1"),
        ("^0", "a>=0,<1"),
        ("~1.2.3", "a>=1.2.3,<1.3.0"),
        ("~1.2", "a>=1.2,<1.3"),
        ("~1", "a>=1,<2"),
        ("~=1.4", "a~=1.4"),
        ("1.2.*", "a==1.2.*"),
        ("*", "a"),
        ("1.2.3", "a==1.2.3"),
        ("=1.2.3", "a==1.2.3"),
        (">=1,<2.0 , !=1.5", "a>=1,<2.0,!=1.5"),
        (">=1 <2", "a>=1,<2"),
        ({"version": "^1", "extras": ["x", "y"]}, "a[x,y]>=1,<2"),
        ({"version": "*", "markers": "os_name == 'nt' or x"}, "a ; (os_name == 'nt' or x)"),
        ({"version": "1", "platform": "linux"}, 'a==1 ; sys_platform == "linux"'),
        ({"version": "1", "python": ">=3.11"}, 'a==1 ; python_version >= "3.11"'),
        (
            {"version": "1", "python": "^3.8 || 2.7.*"},
            'a==1 ; (python_version >= "3.8" and python_version < "4.0" or python_version == "2.7.*")',
        ),
        ({"git": "https://h/r.git", "tag": "v1"}, "a @ git+https://h/r.git@v1"),
        ({"git": "git@h:t/r.git", "subdirectory": "s"}, "a @ git+ssh://git@h/t/r.git#subdirectory=s"),
        ({"path": "../lib", "develop": True}, "a @ file:///code/../lib"),
        ({"url": "https://h/a.whl"}, "a @ https://h/a.whl"),
    ],
)
def test_a_poetry_dependency_is_said_in_pep_508(wanted: Any, line: str) -> None:
    assert poetry.requirements({"dependencies": {"a": wanted}}, FOLDER, locked=False) == (line,)


def test_python_itself_optional_and_other_groups_packages_are_not_installed() -> None:
    table = {
        "dependencies": {"python": "^3.11", "a": {"version": "1", "optional": True}, "b": "*"},
        "group": {"dev": {"dependencies": {"c": "*"}}},
    }

    assert poetry.requirements(table, FOLDER, locked=False) == ("b",)


def test_several_ways_of_wanting_one_package_are_several_lines() -> None:
    ways = [{"version": "1", "python": "<3.12"}, {"version": "2", "python": ">=3.12"}]

    lines = poetry.requirements({"dependencies": {"a": ways}}, FOLDER, locked=False)

    assert lines == ('a==1 ; python_version < "3.12"', 'a==2 ; python_version >= "3.12"')


@pytest.mark.parametrize(
    "wanted",
    [
        "^1 || ^3",
        "what?",
        "==",
        7,
        None,
        {"version": 1},
        {"source": "private", "version": "1"},
        {"new": "1"},
        {"version": "1", "extras": "x"},
        {"version": "1", "python": "?"},
        {"url": "https://h/\n--index-url x"},
    ],
    ids=str,
)
def test_a_dependency_without_translation_is_named_with_what_helps(wanted: Any) -> None:
    with pytest.raises(DeploymentRejected, match=r"tool\.poetry\.dependencies\.a .*; install poetry"):
        poetry.requirements({"dependencies": {"a": wanted}}, FOLDER, locked=False)


def test_a_lock_file_gives_the_versions_and_stands_for_ranges_that_cannot_be_said() -> None:
    lock = {
        "package": [
            {"name": "a", "version": "3.1"},
            {"name": "b", "version": "1"},
            {"name": "b", "version": "2"},
            {"name": "c", "version": "1", "source": {"type": "git"}},
            {"name": "d", "version": "1", "source": {"type": "legacy"}},
            {"name": "-r x", "version": "1"},
            {"version": "1"},
        ]
    }
    pyproject = {"tool": {"poetry": {"dependencies": {"a": "^1 || ^3"}}}}

    assert read_project(pyproject, lock, FOLDER) == Project(Style.POETRY, ("a",), ("a==3.1", "d==1"))


@pytest.mark.parametrize("lock", [{"package": "x"}, {"package": ["x"]}])
def test_a_lock_file_that_is_none_is_refused(lock: dict[str, Any]) -> None:
    with pytest.raises(DeploymentRejected, match=r"poetry\.lock"):
        poetry.constraints(lock)


# Verdicts. Lines as the programs print them.


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("fatal: unable to access 'https://h/': Could not resolve host: h", Verdict.PASSING),
        (
            "fatal: unable to access 'https://h/': Failed to connect to h port 443: Connection refused",
            Verdict.PASSING,
        ),
        ("fatal: unable to access 'https://h/': The requested URL returned error: 503", Verdict.PASSING),
        ("fatal: unable to access 'https://h/': The requested URL returned error: 429", Verdict.PASSING),
        ("fatal: unable to access 'https://h/': The requested URL returned error: 403", Verdict.FINAL),
        ("remote: Not Found\nfatal: repository 'https://h/r.git/' not found", Verdict.FINAL),
        ("fatal: Authentication failed for 'https://h/r.git/'", Verdict.FINAL),
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", Verdict.FINAL),
        (
            "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.",
            Verdict.FINAL,
        ),
        ("Host key verification failed.\nConnection closed by h port 22", Verdict.FINAL),
        ("kex_exchange_identification: Connection closed by remote host", Verdict.PASSING),
        ("ssh: connect to host h port 22: Connection timed out", Verdict.PASSING),
        ("ssh: Could not resolve hostname h: Temporary failure in name resolution", Verdict.PASSING),
        (
            "error: RPC failed; curl 92 HTTP/2 stream 5 was not closed cleanly\nfatal: early EOF",
            Verdict.PASSING,
        ),
        ("fatal: '/srv/r' does not appear to be a git repository", Verdict.FINAL),
        (
            "fatal: unable to access 'https://h/': SSL certificate problem: self-signed certificate",
            Verdict.FINAL,
        ),
        ("fatal: detected dubious ownership in repository at '/srv/r'", Verdict.FINAL),
        ("fatal: write error: No space left on device", Verdict.PASSING),
        ("fatal: something nobody has seen before", Verdict.UNKNOWN),
        ("", Verdict.UNKNOWN),
    ],
)
def test_gits_last_lines_mean(said: str, verdict: Verdict) -> None:
    assert judge_git(said.splitlines()) is verdict


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("ERROR: No matching distribution found for nope==1", Verdict.FINAL),
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...)'\n"
            "ERROR: No matching distribution found for a",
            Verdict.PASSING,
        ),
        ("ERROR: HTTP error 503 while getting https://h/a.whl", Verdict.PASSING),
        ("ERROR: 404 Client Error: Not Found for url: https://h/a.whl", Verdict.FINAL),
        ("ERROR: 502 Server Error: Bad Gateway for url: https://h/a.whl", Verdict.PASSING),
        (
            "error: Failed to fetch: `https://h/`\n  Caused by: dns error: failed to lookup address",
            Verdict.PASSING,
        ),
        ("  × No solution found when resolving dependencies:", Verdict.FINAL),
        ("error: subprocess-exited-with-error\n  gcc: command not found", Verdict.FINAL),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            Verdict.PASSING,
        ),
        ("ERROR: ResolutionImpossible", Verdict.FINAL),
        ("", Verdict.FINAL),
    ],
)
def test_an_installers_output_means(said: str, verdict: Verdict) -> None:
    assert judge_install(said.splitlines()) is verdict
