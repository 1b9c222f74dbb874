"""``runqy-appliance explain TASK_ID``: print where a task is and why it is not running; changes nothing."""

import json
from collections.abc import Mapping
from pathlib import Path

from appliance.commands.explain.reading import find
from appliance.commands.explain.telling import as_data, tell
from appliance.commands.loading import look_into_redis
from appliance.commands.options import Options
from appliance.config.settings import Settings
from appliance.exits import Exit


def run(options: Options, environ: Mapping[str, str], cwd: Path) -> int:
    """For people, or (``--json``) as one JSON object."""

    def look(settings: Settings) -> int:
        found = find(settings, options.operand)
        data, text = as_data(options.operand, found), tell(options.operand, found)
        print(json.dumps(data, indent=2) if options.as_json else text)
        return Exit.OK if found.tasks else Exit.UNKNOWN_TASK

    return look_into_redis(options, environ, cwd, look)
