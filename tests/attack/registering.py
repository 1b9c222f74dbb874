"""Registers with hostile servers: ``python registering.py URL KEY [lax] CASE…``, each case a path of URL.

Prints per case a line of JSON: ``error`` and its kind, or what was accepted, and the CPU seconds for which
nothing else in the worker could run. ``lax`` is a worker without its bounds: it shows what they are good for.
"""

import json
import random
import sys
import time

from appliance import patching

patching.patch()

import gevent  # noqa: E402
import structlog  # noqa: E402

from appliance.clock import SystemClock  # noqa: E402
from appliance.config.settings import BootstrapSettings, ServerSettings  # noqa: E402
from appliance.control import contract, fairness, registration, selection  # noqa: E402
from appliance.control.registration import Registrar, Timeouts  # noqa: E402
from appliance.errors import RegistrationError  # noqa: E402
from appliance.observe.redaction import Redactor  # noqa: E402

BOUNDS = ("LONGEST_COMMAND", "MOST_SUB_QUEUES", "MOST_VAULT_ENTRIES", "LARGEST_PRIORITY", "LARGEST_DB")


class Ticker:
    """Something else that wants its turn."""

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._last_s = time.process_time()
        gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            gevent.sleep(0.005)
            self.look()

    def look(self) -> None:
        now_s = time.process_time()
        self.worst_s, self._last_s = max(self.worst_s, now_s - self._last_s), now_s

    def taken(self) -> float:
        self.look()
        worst_s, self.worst_s = self.worst_s, 0.0
        return worst_s


def main(url: str, key: str, *cases: str) -> None:
    if cases[0] == "lax":
        for name in BOUNDS:
            setattr(contract, name, 10**5000)
        fairness.bound = lambda client, most_bytes: None
        registration.MAX_BODY_BYTES = selection.MOST_SERVED = 10**9
        cases = cases[1:]
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    ticker = Ticker()
    for case in cases:
        gevent.sleep(0.02)
        ticker.taken()
        asking = Registrar(
            ServerSettings(f"{url}/{case}", key),
            BootstrapSettings(retries=0, retry_delay_s=0),
            SystemClock(),
            "1",
            random.Random(1),
            # Most answers are refused at once, on a busy machine later: these alone take for ever.
            Timeouts(total_s=5 if case.startswith("slow") else 60),
        )
        told = {"case": case}
        try:
            found = asking.register("inference")
            Redactor().add(*found.vaults.values())
            told |= {"accepted": len(selection.select(found, None)[0])}
        except RegistrationError as exc:
            told |= {"error": str(exc), "kind": type(exc).__name__}
        print(json.dumps({**told, "blocked_s": ticker.taken()}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
