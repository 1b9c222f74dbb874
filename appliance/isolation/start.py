"""Isolation as the worker uses it: what is in force is found out once, and each start is confined by it."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import structlog

from appliance.config.settings import Settings
from appliance.errors import ProtectionMissing
from appliance.isolation import machine
from appliance.isolation.confinement import Confinement, Enter
from appliance.isolation.domain import Access, ways
from appliance.isolation.hardening import adopt, harden
from appliance.isolation.places import Code, task_places, tool_domain
from appliance.isolation.report import Level, Protection, Report, report

log = structlog.get_logger()


def isolate(settings: Settings, environ: Mapping[str, str]) -> tuple[Confinement, Report]:
    """Isolate the worker itself, and find out how task code will be; says so in the log."""
    level, kernel = Level(settings.isolation.level), machine.kernel()
    found = {} if adopt() else {Protection.DESCENDANTS: "the kernel refuses"}
    if level is Level.OFF:
        made = report(level, kernel, found)
        log.warning("isolation.off", consequence="task code can reach the worker and all that it holds")
        return Confinement(level, kernel), made
    machine.sweep_temporary_folders()
    server = settings.server
    secrets = (server.api_key, server.previous_api_key, settings.git.token, settings.redis.sentinel_password)
    found |= harden([secret for secret in secrets if secret])
    # Of no certain parent queue: what is closed is the same for all.
    code = Code(Path("/nonexistent"), Path("/usr/bin/python3"), None, environ)
    places = task_places(settings, code, machine.installation(), machine.resolve)
    if places.open:
        path, reason = next(iter(places.open.items()))
        found[Protection.FILES] = f"{path} is open to task code: {reason}"
    made = report(level, kernel, found)
    log.info(
        "isolation.in_force",
        isolation=level.value,
        protections=[each.value for each in made.in_force],
        no_new_files_in=[str(way) for way in ways(places.domain)],
    )
    for protection, reason in made.lacking.items():
        log.warning("isolation.lacking", protection=protection.value, reason=reason)
    return Confinement(level, kernel), made


def insist(isolation: Report) -> None:
    """Raise :class:`~appliance.errors.ProtectionMissing` where the level requires what is missing."""
    if isolation.level is Level.REQUIRE and isolation.lacking:
        reasons = "; ".join(f"{each.value}: {reason}" for each, reason in isolation.lacking.items())
        raise ProtectionMissing(f"RUNQY_ISOLATION=require, and not everything is in force: {reasons}")


def confine_task(code: Code, settings: Settings, confinement: Confinement) -> AbstractContextManager[Enter]:
    """Confine the next task process; see :meth:`~appliance.isolation.confinement.Confinement.confine`."""
    places = task_places(settings, code, machine.installation(), machine.resolve)
    return confinement.confine(places.domain)


def confine_tool(
    settings: Settings, confinement: Confinement, opened: Mapping[Path, Access]
) -> AbstractContextManager[Enter]:
    """Confine the next program that deploys to ``opened``, of all that is the worker's own."""
    return confinement.confine(tool_domain(settings, opened, machine.installation(), machine.resolve))


def temporary_folder(settings: Settings, parent: str) -> Mapping[str, str]:
    """The variable that gives a parent queue's task code its own folder of temporary files, in ``strict``."""
    if Level(settings.isolation.level) is not Level.STRICT:
        return {}
    return {"TMPDIR": str(machine.make_temporary_folder(parent))}
