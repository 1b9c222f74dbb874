"""What the machine is doing, for the heartbeat's ``metrics`` field (wire §6)."""

import csv
import os
import shutil
from pathlib import Path
from typing import Any

import psutil
import structlog

from appliance.clock import Clock
from appliance.deploy.access import without_credentials
from appliance.deploy.command import Command, Limits, Runner
from appliance.errors import CommandFailed

log = structlog.get_logger()

_GPU_FIELDS = ("index", "name", "utilization.gpu", "memory.used", "memory.total", "temperature.gpu")
_GPU_LIMITS = Limits(total_s=5.0, silent_s=5.0)


class SystemMetrics:
    """Reads CPU, memory and GPUs; a machine without ``nvidia-smi`` has no GPUs."""

    def __init__(self, clock: Clock) -> None:
        self._runner = Runner(clock, redact=str)
        self._nvidia_smi = shutil.which("nvidia-smi")
        self._last: dict[str, Any] = {"cpu_percent": 0.0, "memory_used_bytes": 0, "memory_total_bytes": 0}
        self._readable = True
        # The first reading of a CPU percentage has nothing to compare with.
        self._read(0.0)

    def collect(self, now_wall_s: float) -> dict[str, Any]:
        """One reading, in the shape the server reads; the last one again where the machine cannot be read.

        No descriptor may be left for that: no reason not to say that the worker lives.
        """
        self._read(now_wall_s)
        return {**self._last, "gpus": self._gpus()}

    def _read(self, now_wall_s: float) -> None:
        try:
            memory = psutil.virtual_memory()
            cpu_percent = psutil.cpu_percent(interval=None)
        except OSError as exc:
            if self._readable:
                log.warning("system.unreadable", error=str(exc), consequence="the heartbeat has old numbers")
            self._readable = False
            return
        self._readable = True
        self._last = {
            "cpu_percent": cpu_percent,
            "memory_used_bytes": memory.used,
            "memory_total_bytes": memory.total,
            "collected_at": int(now_wall_s),
        }

    def _gpus(self) -> list[dict[str, Any]]:
        if self._nvidia_smi is None:
            return []
        query = (self._nvidia_smi, f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader,nounits")
        command = Command(query, Path("/"), without_credentials(os.environ))
        try:
            output = self._runner.run(command, _GPU_LIMITS).stdout
        except CommandFailed as exc:
            log.warning("system.gpu_query_failed", error=str(exc), consequence="no GPU metrics from now on")
            self._nvidia_smi = None
            return []
        return parse_gpus(output)


def parse_gpus(output: str) -> list[dict[str, Any]]:
    """Read ``nvidia-smi``'s CSV; a value a card does not report (``[N/A]``) is 0."""
    gpus = []
    for row in csv.reader(output.splitlines(), skipinitialspace=True):
        if len(row) != len(_GPU_FIELDS):
            continue
        index, name, utilization, used, total, temperature = row
        gpus.append(
            {
                "index": int(_number(index)),
                "name": name,
                "utilization_percent": _number(utilization),
                "memory_used_mb": int(_number(used)),
                "memory_total_mb": int(_number(total)),
                "temperature_c": int(_number(temperature)),
            }
        )
    return gpus


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
