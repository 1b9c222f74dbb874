"""Where Redis is, asked of the Sentinels that watch it."""

from collections import deque
from contextlib import closing
from dataclasses import replace
from typing import Any

from redis import exceptions

from appliance.control.contract import RedisEndpoint
from appliance.errors import QueueError, QueueUnavailable
from appliance.queue.connection import CONNECT_TIMEOUT_S, Address, Channel

#: What our connections to a Sentinel are called there.
_NAME = "runqy-appliance:sentinel"


class Sentinels:
    """Those the settings name; password, database and TLS of Redis are as the server says.

    A Sentinel gets the user and password that the settings have for it, else the password of Redis if it
    wants one.
    """

    def __init__(self, endpoint: RedisEndpoint) -> None:
        self._master = endpoint.settings.sentinel_master or ""
        self._password = endpoint.password
        own = endpoint.settings.sentinel_password or ""
        plain = replace(endpoint.settings, sentinels=None, username=endpoint.settings.sentinel_username)
        places = [address.rpartition(":") for address in endpoint.settings.sentinels or ()]
        self._places = deque(
            replace(endpoint, host=host.strip("[]"), port=int(port), db=0, password=own, settings=plain)
            for host, _, port in places
        )

    def find_master(self) -> Address:
        """Ask one after the other; raises :class:`QueueUnavailable` with what each said when none knows.

        Each time another is the first to be asked: one that is cut off from the rest may name a Redis
        that no longer is the master.
        """
        self._places.rotate(-1)
        heard = []
        for place in list(self._places):
            try:
                found = self._ask(place)
            except QueueError as exc:
                heard.append(str(exc))
                continue
            if found:
                return found[0].decode(), int(found[1])
            heard.append(f"{place.host}:{place.port} knows no master {self._master}")
        raise QueueUnavailable(f"no Sentinel says where Redis is: {'; '.join(heard)}")

    def _ask(self, place: RedisEndpoint) -> Any:
        question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master)
        with closing(Channel(place, _NAME, reply_timeout_s=CONNECT_TIMEOUT_S)) as channel:
            try:
                return channel.call(*question)
            except QueueUnavailable as exc:
                if not isinstance(exc.__cause__, exceptions.AuthenticationError):
                    raise
                if place.settings.sentinel_password:
                    who = f"user {place.settings.username or 'default'} (RUNQY_REDIS_SENTINEL_USERNAME)"
                    refused = f"the Sentinel {place.host}:{place.port} does not let {who} in with"
                    raise QueueUnavailable(
                        f"{refused} RUNQY_REDIS_SENTINEL_PASSWORD: {exc.__cause__}"
                    ) from exc
                if place.password or not self._password:
                    raise
        return self._ask(replace(place, password=self._password))
