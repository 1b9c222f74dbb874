"""Task code that came with the image: looked at, used as it is, never written to.

The folder stands for the repository: the server's ``code_path`` leads on from it, its git URL and branch mean
nothing. Nothing is installed either. The interpreter is that of a ``.venv`` in the code folder, else the
machine's own, into which the image's author has installed what the code needs.
"""

from pathlib import Path

import structlog

from appliance.control.contract import DeploymentSpec
from appliance.deploy.source import check_inside, check_parent, shown
from appliance.errors import DeploymentRejected

log = structlog.get_logger()

#: What stands for a commit in heartbeats and crash dossiers: the image says which code it is.
COMMIT = "baked"


def baked_folder(baked: Path, parent: str) -> Path:
    """Where the code of the queue ``parent`` is: in one folder for all, or in one per queue."""
    return Path(str(baked).replace("{parent}", check_parent(parent)))


def find_baked(
    folder: Path, parent: str, spec: DeploymentSpec, base_python: Path, *, system_site_packages: bool
) -> tuple[Path, Path | None, Path]:
    """The code folder, its environment (None: the machine's own Python) and the interpreter.

    Raises :class:`~appliance.errors.DeploymentRejected` naming what is missing.
    """
    if not folder.is_dir():
        raise DeploymentRejected(
            f"RUNQY_DEPLOYMENT_BAKED: there is no folder {folder} for the queue {parent}"
        )
    code_path = check_inside("deployment.code_path", spec.code_path or "")
    code_dir = folder / code_path
    if not code_dir.is_dir():
        raise DeploymentRejected(
            f"deployment.code_path: the baked code in {folder} has no folder {code_path!r}; copy it there, "
            "as it is in the repository"
        )
    venv_dir = code_dir / ".venv"
    python = venv_dir / "bin" / "python"
    if python.exists():
        _tell(parent, spec, code_dir, python)
        return code_dir, venv_dir, python
    if venv_dir.exists():
        raise DeploymentRejected(f"RUNQY_DEPLOYMENT_BAKED: {venv_dir} has no interpreter at bin/python")
    if not system_site_packages:
        raise DeploymentRejected(
            f"RUNQY_USE_SYSTEM_SITE_PACKAGES=false, but {code_dir} has no .venv: make one where the image is "
            "built, or let task code use the packages of the machine's Python"
        )
    _tell(parent, spec, code_dir, base_python)
    return code_dir, None, base_python


def _tell(parent: str, spec: DeploymentSpec, code_dir: Path, python: Path) -> None:
    log.info(
        "deploy.baked",
        parent=parent,
        code=str(code_dir),
        python=str(python),
        ignored=f"git URL {shown(spec.git_url)}, branch {spec.branch}; nothing is installed",
    )
