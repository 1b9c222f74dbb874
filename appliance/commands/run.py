"""``runqy-appliance run``: run the worker."""

import gc
import sys
from collections.abc import Mapping
from pathlib import Path

from appliance.commands.options import Options
from appliance.config.load import load
from appliance.later import at_first_use


def run(options: Options, environ: Mapping[str, str], cwd: Path) -> int:
    """Returns when the worker has ended, with its exit status."""
    loaded = load(environ, options.config_file, cwd)
    if loaded.settings.telemetry.otlp_endpoint is None:
        # Where it is installed, Redis's client would import all of it.
        sys.modules["opentelemetry"] = None  # type: ignore[assignment]
    # The half of Redis's client that is for asyncio: a twentieth of the start.
    at_first_use("redis.asyncio")
    # Nothing that is imported is garbage; looking for some takes an eighth of the start, and again of each
    # later look.
    gc.disable()
    # why not above: settings that are wrong are told at once, this import takes a while.
    from appliance import program  # noqa: PLC0415

    gc.freeze()
    gc.enable()

    return program.run(loaded.settings, (*loaded.warnings, *loaded.run_warnings), loaded.notes)
