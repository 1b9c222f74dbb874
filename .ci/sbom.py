"""Writes the CycloneDX bill of what the image is made of: ``sbom.py TARGET [IMAGE]``.

Python's packages come from the locks and not from an environment, because they are what the image is made of
on every platform. With an image, Debian's packages and the base's Python are asked of it. There is no time
and no random serial number, so that the same locks and the same image give the same file.
"""

import hashlib
import json
import re
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

ROOT = Path(__file__).parents[1]
#: Of the build's tools only this one stays in the image.
KEPT_TOOLS = {"uv"}
#: What an image says of itself: which Debian, which processor's packages, which Python, and each package.
ASKED = """
. /etc/os-release; echo "$ID-$VERSION_ID"
python3 --version
dpkg-query --show --showformat='${Package}\\t${Version}\\t${Architecture}\\t'\
'${source:Package}\\t${source:Version}\\n'
"""


def main(target: str, image: str = "") -> None:
    """Write the bill to ``target``; of ``image``, if there is one, with the packages of its system."""
    worker, tools = (_locked(name) for name in ("worker.lock", "tools.lock"))
    components = [*worker, *(item for item in tools if item["name"] in KEPT_TOOLS)]
    if image:
        components += _system(image)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    content = json.dumps(components, sort_keys=True)
    serial = uuid.UUID(bytes=hashlib.sha256(content.encode()).digest()[:16], version=4)
    own = f"pkg:pypi/{project['name']}@{project['version']}"
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": project["name"],
                "version": project["version"],
                "purl": own,
                "licenses": [{"license": {"id": project["license"]}}],
            }
        },
        "components": components,
    }
    Path(target).write_text(json.dumps(document, indent=2) + "\n")
    sys.stdout.write(f"sbom: {len(components)} packages in {target}\n")


def _locked(name: str) -> list[dict[str, Any]]:
    text = (ROOT / "compose" / "image" / name).read_text().replace("\\\n", " ")
    found = (re.match(r"([a-z0-9-]+)==(\S+)(.*)", line) for line in text.splitlines())
    return [_component(match[1], match[2], match[3]) for match in found if match]


def _system(image: str) -> list[dict[str, Any]]:
    command = ["docker", "run", "--rm", "--network=none", "--entrypoint=sh", image, "-euc", ASKED]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    release, python, *packages = said.splitlines()
    found = [_debian(release, *line.split("\t")) for line in sorted(packages)]
    version = python.removeprefix("Python ")
    purl = f"pkg:generic/python@{version}"
    interpreter = {"type": "application", "bom-ref": purl, "name": "python", "version": version, "purl": purl}
    return [*found, interpreter]


def _debian(
    release: str, name: str, version: str, processor: str, source: str, source_version: str
) -> dict[str, Any]:
    # Vulnerabilities are listed by source package.
    upstream = f"&upstream={quote(f'{source}@{source_version}')}" if source != name else ""
    purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={processor}&distro={release}{upstream}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _component(name: str, version: str, rest: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{version}"
    # One of these is the file that was installed: which one, the platform decides.
    hashes = [{"alg": "SHA-256", "content": digest} for digest in re.findall(r"sha256:([0-9a-f]{64})", rest)]
    index = {"type": "distribution", "url": f"https://pypi.org/project/{name}/{version}/", "hashes": hashes}
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "externalReferences": [index],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
