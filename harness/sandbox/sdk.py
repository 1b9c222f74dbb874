"""The line of a requirements.txt that brings the real SDK, from PyPI or from here."""

import base64
import hashlib
import zipfile
from importlib import metadata
from pathlib import Path

SDK = "runqy-python"


def sdk_requirement(wheelhouse: Path | None = None) -> str:
    """The version of the SDK that is installed here, as a line of requirements.

    Without ``wheelhouse`` it comes from the package index. With it a wheel is put together there from
    the installed files, and installing it needs no network. Raises
    importlib.metadata.PackageNotFoundError where the SDK is not installed.
    """
    distribution = metadata.distribution(SDK)
    if wheelhouse is None:
        return f"{SDK}=={distribution.version}"
    return f"{SDK} @ {_wheel(distribution, wheelhouse).resolve().as_uri()}"


def sdk_files() -> dict[str, str]:
    """Its modules as they are installed here (path → text), for code that is to find it beside itself.

    Raises importlib.metadata.PackageNotFoundError where the SDK is not installed.
    """
    entries = metadata.distribution(SDK).files or ()
    return {str(entry): Path(str(entry.locate())).read_text() for entry in entries if entry.suffix == ".py"}


def _wheel(distribution: metadata.Distribution, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{SDK.replace('-', '_')}-{distribution.version}-py3-none-any.whl"
    if path.exists():
        return path
    record = []
    record_name = ""
    unfinished = path.with_suffix(".unfinished")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as wheel:
        for entry in distribution.files or ():
            name = str(entry)
            if name.endswith(".dist-info/RECORD"):
                record_name = name
            # What the installer added: compiled files, scripts, and notes on how it was installed.
            elif not name.startswith("..") and not name.endswith(
                (".pyc", "INSTALLER", "REQUESTED", "direct_url.json")
            ):
                content = Path(str(entry.locate())).read_bytes()
                digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
                wheel.writestr(name, content)
                record.append(f"{name},sha256={digest},{len(content)}")
        wheel.writestr(record_name, "\n".join([*record, f"{record_name},,"]) + "\n")
    unfinished.rename(path)
    return path
