"""Looks up known vulnerabilities of what the images install. A finding is a failure.

An index or a database that does not answer is none, because it says nothing about us; but what was not looked
up is told, never counted as clean.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCKS = Path(__file__).parents[1] / "compose" / "image"
# The hashes stand for exactly these files: nothing is resolved or downloaded.
ARGUMENTS = ("--disable-pip", "--require-hashes", "--progress-spinner=off", "--timeout=20", "--format=json")


def main() -> int:
    """Look up every lock; returns the exit status: 1 where something was found."""
    return max([_audit(lock) for lock in ("worker.lock", "tools.lock", "harness.lock")])


def _audit(lock: str) -> int:
    command = [sys.executable, "-m", "pip_audit", *ARGUMENTS, "--requirement", str(LOCKS / lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        why = (done.stderr.strip() or "pip-audit said nothing").splitlines()[-1]
        return _say(f"{lock}: NOT LOOKED UP: {why}")
    return judge(lock, packages)


def judge(lock: str, packages: list[dict[str, Any]]) -> int:
    """Tell what pip-audit answered for one lock; returns 1 where it knows a vulnerability."""
    skipped = [package for package in packages if "skip_reason" in package]
    found = [(package, hole) for package in packages for hole in package.get("vulns", ())]
    for package, hole in found:
        fixed = ", ".join(hole.get("fix_versions", ())) or "no version"
        _say(f"{lock}: {package['name']} {package['version']}: {hole['id']}, mended in {fixed}")
    if skipped:
        _say(
            f"{lock}: {len(skipped)} of {len(packages)} NOT LOOKED UP, such as {skipped[0]['name']}: "
            f"{skipped[0]['skip_reason']}"
        )
    if found:
        _say(f"{lock}: FOUND {len(found)}; UPGRADE=1 make lock takes newer versions")
    elif not skipped:
        _say(f"{lock}: no known vulnerability in {len(packages)} packages")
    return int(bool(found))


def _say(text: str) -> int:
    sys.stdout.write(f"audit: {text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
