"""What ``runqy-harness init`` writes: the files of a task repository, from templates.

In a template ``@NAME@`` and its like stand for what was chosen.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from harness.failure import CommandFailed


@dataclass(frozen=True)
class Project:
    """What was chosen. ``sdk`` and ``harness`` are lines of requirements; ``ci`` None is without it."""

    name: str
    mode: str
    ci: str | None
    docker: bool
    image: str
    harness_image: str
    sdk: str
    harness: str


@dataclass(frozen=True)
class File:
    """One file of the project: its text, and what it is, for people."""

    text: str
    what: str


@dataclass(frozen=True)
class Template:
    """Makes ``path`` of the templates of these names where ``wanted``."""

    path: str
    names: Callable[[Project], tuple[str, ...]]
    what: str
    wanted: Callable[[Project], bool] = lambda _: True


def _with_docker(project: Project) -> bool:
    return project.docker


#: All there are.
TEMPLATES = (
    Template("main.py", lambda project: (f"{project.mode}.py",), "the task"),
    Template("requirements.txt", lambda _: ("requirements.txt",), "its packages"),
    Template("payload.json", lambda _: ("payload.json",), "a task to try it with"),
    Template("tests/test_task.py", lambda project: (f"test_{project.mode}.py",), "its tests"),
    Template("pytest.ini", lambda _: ("pytest.ini",), "how they run it"),
    Template("requirements-test.txt", lambda _: ("requirements-test.txt",), "what they need"),
    Template(
        "README.md",
        lambda project: ("README.md", "README-docker.md") if project.docker else ("README.md",),
        "the commands",
    ),
    Template(".gitignore", lambda _: ("gitignore",), "what git leaves out"),
    Template("Dockerfile", lambda _: ("Dockerfile",), "the worker with the task inside", _with_docker),
    Template(".dockerignore", lambda _: ("dockerignore",), "what is not in it", _with_docker),
    Template("compose.yaml", lambda _: ("compose.yaml",), "a server and Redis to try it", _with_docker),
    Template(
        ".github/workflows/task.yml",
        lambda _: ("github.yml",),
        "tests and certify for each push",
        lambda project: project.ci == "github",
    ),
    Template(
        ".gitlab-ci.yml",
        lambda _: ("gitlab-ci.yml",),
        "tests and certify for each push",
        lambda project: project.ci == "gitlab",
    ),
)


def files(project: Project) -> dict[str, File]:
    """Paths to files, in the order in which they are told."""
    made: dict[str, File] = {}
    values = _values(project)
    for template in TEMPLATES:
        if template.wanted(project):
            text = "".join(_template(name) for name in template.names(project))
            made[template.path] = File(_filled(text, values), template.what)
    return made


def write(folder: Path, made: Mapping[str, File], *, keep: bool) -> list[str]:
    """Write the files into ``folder``, which need not be there yet; returns those that were there and stay.

    Without ``keep`` one that is there is a :class:`~harness.failure.CommandFailed`, and nothing is written.
    Raises that also where the folder or a file of it cannot be written.
    """
    there = [path for path in made if (folder / path).exists() or (folder / path).is_symlink()]
    if there and not keep:
        raise CommandFailed(
            f"{folder}: there already: {', '.join(there)}. Nothing was written; name another "
            "folder, or leave these as they are and have the others written with --keep"
        )
    for path, file in made.items():
        if path not in there:
            try:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                # Never over one that came meanwhile.
                with (folder / path).open("x", encoding="utf-8") as out:
                    out.write(file.text)
            except OSError as exc:
                raise CommandFailed(f"{folder / path}: {exc.strerror}") from exc
    return there


def _values(project: Project) -> Mapping[str, str]:
    one_shot = project.mode == "one_shot"
    return {
        "@NAME@": project.name,
        "@MODE@": project.mode,
        "@MODE_OPTION@": " --mode one_shot" if one_shot else "",
        "@MODE_NOTE@": ", mode `one_shot`" if one_shot else "",
        "@IMAGE@": project.image,
        "@HARNESS_IMAGE@": project.harness_image,
        "@SDK@": project.sdk,
        "@HARNESS@": project.harness,
    }


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def _template(name: str) -> str:
    return resources.files("harness").joinpath("init", "templates", name).read_text(encoding="utf-8")
