"""What a worker that starts, becomes ready and stops has not imported, by its list of modules."""

import sys

from tests.integration.world import World

#: None of it is of use to a worker with nothing but the required settings.
UNNEEDED = (
    "appliance.commands.crashes",
    "appliance.commands.explain",
    "appliance.observe.otlp_metrics",
    "appliance.observe.sentry",
    "click",
    "harness",
    "multiprocessing",
    "opentelemetry",
    "pip",
    "redis.asyncio.client",
    "redis.asyncio.connection",
    "rich",
    "sentry_sdk",
    "setuptools",
    "tomllib",
    "unittest",
    "xml",
    "yaml",
)
SCRIPT = f"""
import atexit, sys

def tell():
    names = [name for name, module in sys.modules.items() if module]
    unneeded = {UNNEEDED!r}
    found = [name for name in names if any(name == one or name.startswith(one + ".") for one in unneeded)]
    print("number:", len(names) > 400, "unneeded:", found)

atexit.register(tell)
sys.argv = ["x"]
import appliance.__main__ as main
sys.exit(main.main())
"""


def test_a_start_imports_nothing_that_it_does_not_need(world: World) -> None:
    world.serve("raw_echo")
    worker = world.worker((sys.executable, "-c", SCRIPT))
    world.running(worker)
    worker.terminate()

    assert worker.wait(60) == 0
    assert "number: True unneeded: []" in worker.log_text()
