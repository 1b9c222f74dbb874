"""What the server says of every configured queue, for commands that look rather than work."""

import random
from importlib.metadata import version

from appliance.clock import SystemClock
from appliance.config.settings import Settings
from appliance.control.contract import Registration
from appliance.control.registration import Registrar
from appliance.control.selection import plan_queues


def read_contracts(settings: Settings) -> list[Registration]:
    """The contract of each configured parent queue, with our settings for its Redis.

    Raises :class:`~appliance.errors.RegistrationError`.
    """
    registrar = Registrar(
        settings.server,
        settings.bootstrap,
        SystemClock(),
        version("runqy-appliance"),
        random.Random(),  # noqa: S311  jitter, not secrets
    )
    return [
        registrar.register(parent).reaching_redis(settings.redis)
        for parent in plan_queues(settings.worker.queues)
    ]
