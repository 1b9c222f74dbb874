"""``runqy-appliance help``: print commands, options, settings and exit statuses."""

from appliance.commands.options import USAGE
from appliance.config.reference import options_help
from appliance.exits import Exit

_HEAD = f"""usage: {USAGE}

The runqy worker: registers with a runqy server, deploys task code, runs it, feeds it tasks.

commands:
  run        run the worker (default)
  validate   check the settings and say what is wrong with them (also -validate)
  config     print the effective settings and where each comes from, secrets masked;
             --json prints one JSON object
  health     ask the worker that serves RUNQY_HTTP_ADDR on this machine whether it is ready (with --live:
             whether it is alive; with --started: whether it is, and was ready once): 0 yes, 1 no, with one
             line that says why, 2 without an address
  status     print what that worker is doing: its queues, what runs, what happened lately;
             --json prints its whole answer; 1 where none comes
  crashes    print the crash dossiers that workers of these queues left in Redis, oldest first;
             --json prints a JSON array
  explain    print where the task TASK_ID is and why it is not running, from Redis; changes nothing;
             --json prints one JSON object; status 7 where no queue has it
  version    print the version (also -version)

options:
  -config FILE, --config FILE   the YAML file to read (default: config.yml, if it exists)
  -h, --help                    this text

Settings come from variables, which win over the file, which wins over the defaults. An empty
variable or value counts as not set. In the file, ${{VAR}} and ${{VAR:-default}} stand for variables
and $${{ for a literal ${{. Durations are written as in Go: 500ms, 30s, 1m30s, 24h. No file is needed.
"""

_MEANINGS = {
    Exit.OK: "stopped as asked, or the command did its job",
    Exit.INTERNAL: "a defect in the worker; the log has a traceback",
    Exit.CONFIGURATION: "settings missing or wrong, or a command line that is not understood",
    Exit.REGISTRATION: "the server refused the worker, or never answered",
    Exit.DEPLOYMENT: "task code or its environment could not be put in place",
    Exit.STARTUP: "Redis could not be reached at start, or startup_cmd names no program",
    Exit.DEGRADED: "the task process kept crashing and the worker was told to end then",
    Exit.UNKNOWN_TASK: "explain: no queue has a task of that id",
    Exit.UNPROTECTED: "RUNQY_ISOLATION=require, and a protection is missing",
}


def run(*_: object) -> int:
    """On stdout."""
    statuses = [f"  {status:d}  {_MEANINGS[status]}" for status in Exit]
    print("\n".join((_HEAD, options_help(), "exit statuses:", *statuses)))
    return Exit.OK
