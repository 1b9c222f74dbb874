"""Asks the server for the contract of a parent queue, and makes known what of it is secret."""

from importlib.metadata import version

import structlog

from appliance.control.contract import RedisEndpoint, Registration, SubQueue
from appliance.control.registration import Registrar
from appliance.control.selection import plan_queues, select
from appliance.masking.parts import passwords
from appliance.tools import Tools
from appliance.values import value_class

log = structlog.get_logger()


@value_class
class Contract:
    """What the server says of a parent queue, and which of its queues this worker serves."""

    registration: Registration
    sub_queues: tuple[SubQueue, ...]

    @property
    def parent(self) -> str:
        """The parent queue."""
        return self.registration.parent

    @property
    def redis(self) -> RedisEndpoint:
        """Where its tasks are."""
        return self.registration.redis

    @property
    def address(self) -> str:
        """Host and port of its Redis, for people."""
        return self.redis.address

    @property
    def priorities(self) -> dict[str, int]:
        """Its queues."""
        return {sub_queue.name: sub_queue.priority for sub_queue in self.sub_queues}


class Contracts:
    """Asks with the settings in ``tools``."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def ask_all(self) -> tuple[Contract, ...]:
        """Those of all configured parent queues; raises :class:`~appliance.errors.RegistrationError`."""
        return tuple(map(self._register, plan_queues(self._tools.settings.worker.queues)))

    def _register(self, parent: str) -> Contract:
        contract = self.ask(parent)
        log.info(
            "worker.registered",
            parent=parent,
            queues=contract.priorities,
            redis=contract.address,
            mode=contract.registration.deployment.mode.value,
            vaults=sorted(contract.registration.vaults),
        )
        return contract

    def ask(self, parent: str) -> Contract:
        """The present contract; raises :class:`~appliance.errors.RegistrationError`."""
        settings, redactor = self._tools.settings, self._tools.redactor
        registrar = Registrar(
            settings.server,
            settings.bootstrap,
            self._tools.clock,
            version("runqy-appliance"),
            self._tools.rng,
        )
        registration = registrar.register(parent).reaching_redis(settings.redis)
        # why at once: whatever is logged from here on may have one of these in it.
        redactor.add(registration.redis.password, registration.git_token, *registration.vaults.values())
        redactor.add(*passwords(registration.deployment.git_url))
        sub_queues, warnings = select(registration, plan_queues(settings.worker.queues)[parent])
        redactor.publish(parent, *(sub.name for sub in sub_queues))
        for vault, problem in redactor.remarks(registration.vaults):
            log.warning("vault.value_is_common", parent=parent, vault=vault, problem=problem)
        if settings.redis.certified and not registration.redis.use_tls:
            problem = "certificates for Redis are set but not used: the server says it has no TLS"
            log.warning("registration.no_tls", parent=parent, problem=problem)
        for oddity in registration.oddities:
            log.warning("registration.odd_answer", parent=parent, problem=oddity)
        for warning in warnings:
            log.warning("registration.queue_unknown", parent=parent, problem=warning)
        return Contract(registration, sub_queues)
