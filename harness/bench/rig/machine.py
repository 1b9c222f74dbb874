"""What a table of figures has to say about where they come from."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import redis

#: What a peer's speed depends on, beside itself.
_LIBRARIES = ("celery", "rq", "dramatiq", "huey", "arq", "redis", "hiredis", "gevent", "kombu")
_ASK = """
import json, sys
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def facts(db: redis.Redis) -> dict[str, str]:
    """The machine, the system, Python and Redis, by what they are called."""
    info: Any = db.info("server")
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "Redis": str(info["redis_version"]),
        "worker's libraries": ", ".join(
            f"{name} {metadata.version(name)}" for name in ("gevent", "redis", "hiredis")
        ),
        "load before": f"{load} (1, 5, 15 minutes)",
    }


def versions(environments: Mapping[str, Path]) -> dict[str, str]:
    """For each peer, what is installed in its environment that matters."""
    found = {}
    for name, environment in environments.items():
        python = str(environment / "bin" / "python")
        asked = subprocess.run([python, "-c", _ASK, *_LIBRARIES], capture_output=True, check=True, timeout=60)
        known: dict[str, str] = json.loads(asked.stdout)
        found[name] = ", ".join(f"{library} {version}" for library, version in known.items())
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
