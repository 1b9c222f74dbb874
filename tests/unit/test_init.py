"""``runqy-harness init``: what it would write for each choice, and that it writes over nothing."""

import ast
import configparser
import itertools
import json
import re
from importlib import resources
from pathlib import Path

import pytest
import yaml

from harness.commands import init
from harness.failure import CommandFailed
from harness.init import project as project_module
from harness.init.project import File, Project, files, write


def project(**changes: object) -> Project:
    chosen: dict[str, object] = {
        "name": "my-task",
        "mode": "long_running",
        "ci": "github",
        "docker": True,
        "image": "worker:1",
        "harness_image": "harness:1",
        "sdk": "runqy-python==0.2.2",
        "harness": "harness @ https://example.org/it.whl",
        **changes,
    }
    return Project(**chosen)  # type: ignore[arg-type]


CHOICES = [
    project(mode=mode, ci=ci, docker=docker)
    for mode, ci, docker in itertools.product(
        ("long_running", "one_shot"), ("github", "gitlab", None), (True, False)
    )
]


@pytest.mark.parametrize("chosen", CHOICES, ids=lambda each: f"{each.mode}-{each.ci}-{each.docker}")
def test_each_file_is_whole_and_of_its_kind(chosen: Project) -> None:
    made = {path: file.text for path, file in files(chosen).items()}

    assert [path for path, text in made.items() if re.search(r"@[A-Z_]+@", text)] == []
    assert all(text.endswith("\n") and not text.endswith("\n\n") for text in made.values())
    for path, text in made.items():
        if path.endswith(".py"):
            ast.parse(text)
        if path.endswith((".yml", ".yaml")):
            assert yaml.safe_load(text)
    assert json.loads(made["payload.json"])["text"]
    settings = configparser.ConfigParser()
    settings.read_string(made["pytest.ini"])
    assert settings["pytest"]["runqy_mode"] == chosen.mode
    # The SDK's loop is the one for the mode.
    assert ("run_once()" in made["main.py"]) == (chosen.mode == "one_shot")
    certify = [line for text in made.values() for line in text.splitlines() if "harness certify" in line]
    assert all(("--mode one_shot" in line) == (chosen.mode == "one_shot") for line in certify)


def test_choices_leave_files_out_and_values_are_where_they_belong() -> None:
    github, gitlab = files(project()), files(project(ci="gitlab", docker=False))

    assert {".github/workflows/task.yml", "Dockerfile", ".dockerignore", "compose.yaml"} <= set(github)
    assert ".gitlab-ci.yml" in gitlab
    assert not {".github/workflows/task.yml", "Dockerfile", ".dockerignore", "compose.yaml"} & set(gitlab)
    assert "docker" not in gitlab["README.md"].text
    assert not [path for path in files(project(ci=None)) if path.startswith((".github", ".gitlab"))]
    assert "ARG WORKER_IMAGE=worker:1\n" in github["Dockerfile"].text
    services = yaml.safe_load(github["compose.yaml"].text)["services"]
    assert services["server"]["image"] == services["redis"]["image"] == "${HARNESS_IMAGE:-harness:1}"
    assert "\nharness @ https://example.org/it.whl\n" in github["requirements-test.txt"].text
    assert github["requirements.txt"].text.splitlines()[-1] == "runqy-python==0.2.2"


def test_what_the_image_leaves_out_is_what_the_task_does_not_need() -> None:
    made = files(project())

    left_out = made[".dockerignore"].text.splitlines()
    assert {path for path in made if path.partition("/")[0] not in left_out} == {
        "main.py",
        "requirements.txt",
    }


def test_every_template_is_used() -> None:
    there = {each.name for each in resources.files("harness").joinpath("init", "templates").iterdir()}
    used = {name for each in project_module.TEMPLATES for chosen in CHOICES for name in each.names(chosen)}

    assert there - {"__pycache__"} == used


def test_files_are_written_also_into_folders_that_are_not_there(tmp_path: Path) -> None:
    made = files(project())

    kept = write(tmp_path / "a" / "b", made, keep=False)

    assert kept == []
    written = {path: (tmp_path / "a" / "b" / path).read_text() for path in made}
    assert written == {path: file.text for path, file in made.items()}


def test_nothing_is_written_where_one_of_them_is_there(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("mine")
    # One that points to nowhere is there, too.
    (tmp_path / "Dockerfile").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(CommandFailed, match=r": there already: main\.py, Dockerfile\. Nothing was written"):
        write(tmp_path, files(project()), keep=False)

    assert sorted(each.name for each in tmp_path.iterdir()) == ["Dockerfile", "main.py"]
    assert (tmp_path / "main.py").read_text() == "mine"


def test_what_is_there_stays_and_the_others_are_written_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("mine")

    kept = write(tmp_path, files(project()), keep=True)

    assert kept == ["main.py"]
    assert (tmp_path / "main.py").read_text() == "mine"
    assert (tmp_path / "requirements.txt").exists()


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "tests").write_text("a file where a folder should be")

    with pytest.raises(CommandFailed, match=r"/tests/test_task\.py: (File exists|Not a directory)"):
        write(tmp_path, {"tests/test_task.py": File("", "")}, keep=False)


@pytest.mark.parametrize(
    ("folder", "name"),
    [("My Task!", "my-task"), ("_", "task"), ("billing.v2", "billing-v2"), ("Größe", "gr-e")],
)
def test_a_project_is_called_as_its_folder_as_far_as_an_image_may_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str, name: str
) -> None:
    assert init.run([str(tmp_path / folder)]) == 0

    assert capsys.readouterr().out.startswith(f"{name}: a task repository in {tmp_path / folder}\n")
    assert f"docker build --tag {name} ." in (tmp_path / folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--name", "My Task"], "--name: 'My Task': expected a name of small letters and digits"),
        (["--ci", "gitlab", "--no-ci"], "--no-ci: not allowed with argument --ci"),
        (["--image", ""], "--image: '': expected an image's name such as runqy-appliance:dev"),
        (["--harness-image", "a b"], "--harness-image: 'a b': expected an image's name"),
        (["--harness", "a\nb"], "--harness: 'a\\nb': expected a line of requirements.txt"),
        (["--mode", "both"], "--mode: invalid choice: 'both'"),
        ([__file__], f"DIR: {__file__!r}: expected a folder, or a name for a new one"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused_in_one_line_and_nothing_is_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit) as end:
        init.run(arguments)

    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"runqy-harness init: {complaint}")
    assert len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_is_next_can_be_typed_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # given another folder than this one, with a blank in its name
    assert init.run([str(tmp_path / "a b"), "--mode", "one_shot", "--no-docker"]) == 0
    said = capsys.readouterr().out
    assert (
        f"\n  cd '{tmp_path / 'a b'}'\n  runqy-harness dev --mode one_shot --payload payload.json\n" in said
    )
    assert "docker" not in said
    assert max(map(len, said.splitlines())) <= 80 + len(str(tmp_path))

    # given one that looks like an option
    monkeypatch.chdir(tmp_path)
    assert init.run(["--", "-dash"]) == 0
    assert "\n  cd ./-dash\n" in capsys.readouterr().out

    # given this one
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert init.run([]) == 0
    said = capsys.readouterr().out
    assert "\n  cd " not in said
    assert said.endswith("  docker build --tag here .\n")
