"""Exit statuses of ``runqy-appliance``: what an orchestrator can tell from how we ended."""

from enum import IntEnum


class Exit(IntEnum):
    """One status per cause; anything above 128 is the signal that killed us, minus 128."""

    OK = 0  # stopped as asked, or a command did its job
    INTERNAL = 1  # a defect in the worker: please report the traceback in the log
    UNHEALTHY = 1  # of the commands health and status, as probes have it: not ready, or no answer
    CONFIGURATION = 2  # settings missing or wrong, or a command line not understood
    REGISTRATION = 3  # the server refused the worker, or never answered within the attempts
    DEPLOYMENT = 4  # task code or its environment could not be put in place
    STARTUP = 5  # Redis unavailable at start, or a startup_cmd that names no program
    DEGRADED = 6  # the task process kept crashing and RUNQY_DEGRADED_POLICY=exit says to end
    UNKNOWN_TASK = 7  # explain: no queue has a task of that id
    UNPROTECTED = 8  # RUNQY_ISOLATION=require, and a protection is missing
