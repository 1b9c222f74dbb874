"""``runqy-appliance validate``: check the settings, and say what is wrong with them or noteworthy."""

import sys
from collections.abc import Mapping
from pathlib import Path

from appliance.commands.loading import load_settings
from appliance.commands.options import Options
from appliance.exits import Exit


def run(options: Options, environ: Mapping[str, str], cwd: Path) -> int:
    """Raises :class:`~appliance.errors.ConfigurationError` where they are not valid."""
    loaded = load_settings(options, environ, cwd)
    for note in loaded.notes:
        print(f"note: {note}", file=sys.stderr)
    print("configuration: valid")
    return Exit.OK
