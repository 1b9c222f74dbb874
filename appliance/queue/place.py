"""Where each Redis of the worker is at present: as the server said at the start, or last. Pure."""

from appliance.control.contract import RedisEndpoint


class RedisPlace:
    """Where one Redis is; connections look here whenever they are used."""

    def __init__(self, endpoint: RedisEndpoint) -> None:
        self.endpoint = endpoint


class RedisPlaces:
    """Those of a worker; a Redis that has moved is found by where it was as well."""

    def __init__(self) -> None:
        self._places: dict[RedisEndpoint, RedisPlace] = {}

    def of(self, endpoint: RedisEndpoint) -> RedisPlace:
        """The place of the Redis that is, or was, at ``endpoint``."""
        if endpoint not in self._places:
            self._places[endpoint] = RedisPlace(endpoint)
        return self._places[endpoint]

    def move(self, place: RedisPlace, endpoint: RedisEndpoint) -> None:
        """From now on this Redis is at ``endpoint``."""
        place.endpoint = endpoint
        self._places.setdefault(endpoint, place)
