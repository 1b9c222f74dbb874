"""``runqy-appliance config``: print the effective settings and where each comes from, secrets masked."""

import json
from collections.abc import Mapping
from pathlib import Path

from appliance.commands.loading import load_settings
from appliance.commands.options import Options
from appliance.config.reference import settings_json, settings_lines
from appliance.exits import Exit


def run(options: Options, environ: Mapping[str, str], cwd: Path) -> int:
    """As lines, or as one JSON object."""
    loaded = load_settings(options, environ, cwd)
    if options.as_json:
        print(json.dumps(settings_json(loaded.settings, loaded.origins), indent=2))
    else:
        print("\n".join(settings_lines(loaded.settings, loaded.origins)))
    return Exit.OK
