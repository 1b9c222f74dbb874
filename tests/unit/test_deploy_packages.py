"""What a folder of task code declares to be installed, and what changes the fingerprint of that."""

import os
import sys
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.deploy.environment import Environment
from appliance.deploy.packages import dependencies, poetry
from appliance.deploy.packages.dependencies import Dependencies, find_dependencies
from appliance.deploy.packages.project import Project, Style, read_project
from appliance.deploy.packages.requirements import Kind, references
from appliance.errors import DeploymentRejected

FOLDER = PurePosixPath("/code")


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


@pytest.mark.timeout(300)
@pytest.mark.parametrize("line", ["-r {}", "-c {}", "-f {}", "{}"])
@pytest.mark.parametrize("named", ["/dev/zero", "pipe", "endless", "."])
def test_a_requirements_file_that_names_what_never_ends_holds_up_no_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, named: str
) -> None:
    monkeypatch.setattr(dependencies, "_LONGEST_FILE", 64 * 1024)
    code = tmp_path / "code"
    code.mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").touch()
    os.truncate(tmp_path / "endless", 2**40)
    place = named if named.startswith("/") else f"{tmp_path}/{named}"
    (code / "requirements.txt").write_text(line.format(place) + "\n")

    found = find_dependencies(code, code, "requirements.txt", "c0ffee", poetry=False)

    assert found.fingerprint


def test_a_folder_of_half_the_machine_is_not_walked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "_MOST_FILES", 10)
    code, wheels = tmp_path / "code", tmp_path / "wheels"
    for folder in (code, wheels):
        folder.mkdir()
    for number in range(11):
        (wheels / f"{number}.whl").touch()
    (code / "requirements.txt").write_text(f"--find-links {wheels}\n")

    with pytest.raises(DeploymentRejected, match=rf"folder {wheels}, which has more than 10 files"):
        find_dependencies(code, code, "requirements.txt", "c0ffee", poetry=False)


def test_a_folder_with_a_colon_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise AssertionError("no program is started")

    deployment = tmp_path / "a:b"
    deployment.mkdir()
    environment = Environment(
        code_dir=tmp_path,
        venv_dir=deployment / "venv",
        record=deployment / "record.json",
        system_site_packages=False,
        runner=SimpleNamespace(run=run),  # type: ignore[arg-type]
        env={},
        base_python=Path(sys.executable),
        installer="pip",
    )

    with pytest.raises(DeploymentRejected, match=r"a:b/venv has a colon .*RUNQY_DEPLOYMENT_DIR"):
        environment.prepare("inference", Dependencies("no file", "none"))
    assert not environment.venv_dir.exists()
