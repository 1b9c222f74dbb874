#!/usr/bin/env python3
"""Changes the worker's code one small thing at a time, and says which changes no test noticed.

Works on a copy of what is committed, by cosmic-ray in an environment of its own. Only tests that import the
code are run: those that start a worker as a program would start the unchanged one. ``--sample`` of each
part takes an hour on a machine of its own; all there is, with ``--sample 0``, takes days.
"""

import argparse
import itertools
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

WORK = Path("build/mutants")
TOOL = Path(".bench/mutants/bin")
#: Seconds that one change may take before it counts as noticed: a loop that does not end.
TIMEOUT_S = 300
#: In this code a bar stands in types, where another operator means nothing.
LEFT_OUT = "core/ReplaceBinaryOperator_BitOr_%"


@dataclass(frozen=True)
class Part:
    """Code, and the tests that judge it: the quick ones first, since the first that fails ends it."""

    code: str
    tests: Sequence[str]


PARTS = {
    "loops": Part(
        "appliance/loops",
        ("unit/test_upkeep_loops", "contract/test_upkeep", "contract/test_heartbeat", "contract/test_outbox"),
    ),
    "dispatch": Part(
        "appliance/dispatch",
        (
            *("unit/test_backoff", "unit/test_gate", "unit/test_limits", "unit/test_order", "unit/test_pace"),
            *("unit/test_suspects", "unit/test_unsettled", "unit/test_progress", "unit/test_dispatcher"),
            *("contract/test_dispatch", "contract/test_refused_outcomes"),
        ),
    ),
    "process": Part(
        "appliance/process",
        (
            *("unit/test_environ", "unit/test_experience", "unit/test_handover", "unit/test_lifecycle"),
            *("unit/test_lines", "unit/test_one_shot", "unit/test_protocol", "unit/test_recovery"),
            *("unit/test_recycling", "unit/test_supervision"),
            *("process/test_long_running", "process/test_one_shot", "process/test_hygiene"),
        ),
    ),
    "queue": Part(
        "appliance/queue",
        (
            *("unit/test_message", "unit/test_record", "unit/test_result", "unit/test_settlement"),
            "unit/test_topology",
            *("contract/test_transitions", "contract/test_refusals", "contract/test_refused_outcomes"),
            *("contract/test_upkeep", "contract/test_late_stamps", "contract/test_depths"),
            *("contract/test_half_steps", "contract/test_journal", "contract/test_outbox"),
            *("contract/test_connection", "contract/test_dispatch"),
        ),
    ),
}


def main(arguments: Sequence[str]) -> int:
    """Returns 1 where a change was not noticed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; without any all")
    parser.add_argument("--sample", type=int, default=40, help="changes of each part, 0 is all (40)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    options = parser.parse_args(arguments)
    survived = 0
    for name in options.parts or PARTS:
        survived += _tried(name, PARTS[name], options.sample, options.seed)
    return 1 if survived else 0


def _tried(name: str, part: Part, sample: int, seed: int) -> int:
    """Try a part's changes; returns how many no test noticed, after showing them."""
    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    _copy(folder)
    tests = " ".join(f"tests/{test}.py" for test in part.tests)
    (folder / "mutants.toml").write_text(
        "[cosmic-ray]\n"
        f'module-path = "{part.code}"\n'
        f"timeout = {TIMEOUT_S}\n"
        "excluded-modules = []\n"
        f'test-command = "{Path(sys.executable).absolute()} -m pytest -x -q -p no:cacheprovider {tests}"\n'
        '[cosmic-ray.distributor]\nname = "local"\n'
    )
    _tool(folder, "cosmic-ray", "init", "mutants.toml", "mutants.sqlite")
    with sqlite3.connect(folder / "mutants.sqlite") as session:
        there = _sampled(session, sample, seed)
    _tool(folder, "cosmic-ray", "baseline", "mutants.toml")
    _tool(folder, "cosmic-ray", "exec", "mutants.toml", "mutants.sqlite")
    with sqlite3.connect(folder / "mutants.sqlite") as session:
        tried, unnoticed = _outcomes(session)
    print(_tool(folder, "cr-report", "--surviving-only", "--show-diff", "mutants.sqlite"))
    print(
        f"{name}: {tried - unnoticed} of {tried} changes noticed ({there} there are, seed {seed})", flush=True
    )
    return unnoticed


def _copy(folder: Path) -> None:
    files = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    for file in filter(None, files.split("\0")):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, folder / file, follow_symlinks=False)


def _sampled(session: sqlite3.Connection, sample: int, seed: int) -> int:
    """Leave ``sample`` of the changes in ``session``, each of another place; returns how many there were."""
    # In an order of our own, since the tool's ids are others each time.
    rows = session.execute(
        "SELECT module_path, start_pos_row, start_pos_col, operator_name, occurrence, job_id"
        " FROM mutation_specs WHERE operator_name NOT LIKE ? ORDER BY 1, 2, 3, 4, 5",
        (LEFT_OUT,),
    ).fetchall()
    chance = random.Random(seed)  # noqa: S311  not a secret
    kept = rows
    if sample:
        places = [list(group) for _, group in itertools.groupby(rows, lambda row: row[:3])]
        kept = [chance.choice(place) for place in chance.sample(places, min(sample, len(places)))]
    session.execute("CREATE TEMP TABLE kept (job_id TEXT)")
    session.executemany("INSERT INTO kept VALUES (?)", [row[-1:] for row in kept])
    for table in ("mutation_specs", "work_items"):
        session.execute(f"DELETE FROM {table} WHERE job_id NOT IN (SELECT job_id FROM kept)")  # noqa: S608  ours
    return len(rows)


def _outcomes(session: sqlite3.Connection) -> tuple[int, int]:
    """How many changes were tried, and how many of them no test noticed."""
    outcomes = [row[0] for row in session.execute("SELECT test_outcome FROM work_results")]
    return len(outcomes), sum("SURVIVED" in str(outcome).upper() for outcome in outcomes)


def _tool(folder: Path, *command: str) -> str:
    program = str((TOOL / command[0]).absolute())
    return subprocess.run(
        [program, *command[1:]], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
