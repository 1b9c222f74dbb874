"""Containers for the tests of the image: each carries the session's label, so that the sweep is exact."""

import os
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: As compose/build.sh has it: another tag lets several checkouts be tested on one machine.
TAG = os.environ.get("IMAGE_TAG") or "dev"
IMAGE = f"runqy-appliance:{TAG}"
HARNESS_IMAGE = f"runqy-harness:{TAG}"
#: A root that cannot be written, and what a worker writes: volumes without a name go with their container.
READ_ONLY = ("--read-only", "--tmpfs=/tmp", "--volume=/var/lib/runqy/deployment", "--volume=/state")


@dataclass(frozen=True)
class Engine:
    """The Docker engine as one test session sees it."""

    label: str = field(default_factory=lambda: f"runqy.test={uuid.uuid4().hex}")

    def docker(
        self, *arguments: str, check: bool = True, timeout_s: float = 300, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs ``docker`` with these arguments; with ``check``, a failure shows what it printed."""
        command = ["docker", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=timeout_s, input=stdin
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a container to its end; options of ``docker run``, the image, its command."""
        return self.docker("run", "--rm", "--label", self.label, *arguments, check=check)

    def start(self, *arguments: str, probed: bool = False) -> str:
        """Starts a container in the background and gives its id.

        ``probed``: its health is looked at as the image says. Elsewhere that is a Python started every ten
        seconds, in each container that a test leaves for the sweep.
        """
        health = () if probed else ("--no-healthcheck",)
        return self.docker("run", "--detach", "--label", self.label, *health, *arguments).stdout.strip()

    def sh(self, container: str, script: str, *options: str) -> str:
        """What a shell script prints in a running container; its failure is the test's."""
        return self.docker("exec", *options, container, "sh", "-euc", script).stdout

    def inspect(self, thing: str, template: str) -> str:
        """A field of a container or an image, by a template of ``docker inspect``."""
        return self.docker("inspect", "--format", template, thing).stdout.strip()

    def logs(self, container: str) -> str:
        """Both streams of a container."""
        done = self.docker("logs", container)
        return done.stdout + done.stderr

    def logs_of_all(self, last: int = 60) -> str:
        """The last lines of every container of this session, under its name: what a failure shows."""
        names = self.docker("ps", "--all", "--format", "{{.Names}}", "--filter", f"label={self.label}").stdout
        parts = (self.docker("logs", "--tail", str(last), name) for name in names.split())
        return "\n".join(f"== {part.args[-1]}\n{part.stdout}{part.stderr}" for part in parts)

    def remove_image(self, reference: str) -> None:
        """Removes the images of that name, which may be a pattern."""
        found = self.docker("image", "ls", "--quiet", "--filter", f"reference={reference}").stdout.split()
        if found:
            # Without what it was made of: another checkout's build may just be going on from there.
            self.docker("image", "rm", "--no-prune", "--force", *set(found))

    def sweep(self) -> None:
        """Removes everything this session made, and nothing else."""
        containers = self.docker("ps", "--all", "--quiet", "--filter", f"label={self.label}").stdout.split()
        if containers:
            self.docker("rm", "--force", "--volumes", *containers)
        for kind in ("network", "volume"):
            for name in self.docker(kind, "ls", "--quiet", "--filter", f"label={self.label}").stdout.split():
                self.docker(kind, "rm", name)
