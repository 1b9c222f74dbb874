"""gevent's event, without its way to forget a waiter.

gevent makes one that comes to an event just set wait its turn behind those that were there before. When the
last of these times out in that moment, it takes the notice of the set back, and the one that came later is
never woken: neither by the event nor by a timeout (gevent 26.9, ``AbstractLinkable.unlink``). On a machine
that is late by some seconds, timers and events come together, and that moment comes with them.
"""

import gevent.event


class Event(gevent.event.Event):
    """As gevent's; one that is set is never waited for."""

    def wait(self, timeout: float | None = None) -> bool:  # type: ignore[override]  # one signature, not two
        """Return whether it was set within ``timeout`` seconds; None waits for ever."""
        return self.is_set() or super().wait(timeout)
