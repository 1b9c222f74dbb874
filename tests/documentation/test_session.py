"""A newcomer's first session, and the harness's commands, with every line taken from the pages."""

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from tests.documentation.blocks import ROOT, code, command
from tests.documentation.terminal import shell, shows, started

LOCAL, TASKS = "docs/local-runqy.md", "docs/tasks.md"


def test_the_local_session_goes_as_the_pages_say(tmp_path: Path) -> None:
    # given a repository as the README has it
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "main.py").write_text(code("README.md", "python"))
    (repository / "requirements.txt").write_text("runqy-python\n")

    # when the server is started, only its port being another
    serve = command(LOCAL, "runqy-harness serve") + " --port 0"
    served, worked = tmp_path / "serve", tmp_path / "worker"
    with started(serve, repository, served):
        shows(served, "Ctrl-C ends the server.")
        (url,) = re.findall(r"^  server  (\S+)$", served.read_text(), re.MULTILINE)

        # and the next three registrations shall fail
        faults = shell(command(LOCAL, "curl").replace("http://127.0.0.1:8081", url) + " --fail", tmp_path)
        assert faults.returncode == 0, faults.stderr

        # and a worker is started
        start = command("README.md", "RUNQY_SERVER_URL=").replace("http://localhost:8081", url)
        quick = {"RUNQY_BOOTSTRAP_RETRIES": "5", "RUNQY_BOOTSTRAP_RETRY_DELAY": "100ms"}
        with started(start.replace("…", "dev-key"), tmp_path, worked, **quick) as worker:
            shows(worked, "process.ready")
            assert worked.read_text().count("503") >= 3

            # then a task is answered, and can be looked up
            sent = shell(command(LOCAL, "runqy-harness enqueue"), tmp_path, RUNQY_SERVER_URL=url)
            assert sent.returncode == 0, sent.stderr
            answer = json.loads(sent.stdout)
            assert answer["result"] == {"echo": {"n": 1}}
            look_up = command(LOCAL, "runqy-harness result").replace("6f1c…", answer["task_id"])
            looked_up = shell(look_up, tmp_path, RUNQY_SERVER_URL=url)
            assert json.loads(looked_up.stdout)["state"] == "completed"

            # and so can queue and worker; done again, it is done again
            for line, shown in (
                ("tasks list", "TASK"),
                ("tasks show", '"n": 1'),
                ("queues pause", "paused"),
                ("tasks retry", "retried"),
                ("queues resume", "resumed"),
                ("workers list", "running"),
            ):
                asked = command(TASKS, f"runqy-harness {line}").replace("6f1c…", answer["task_id"])
                told = shell(asked, tmp_path, RUNQY_SERVER_URL=url)
                assert told.returncode == 0, told.stderr
                assert shown in told.stdout, asked
            again = shell(look_up, tmp_path, RUNQY_SERVER_URL=url)
            assert json.loads(again.stdout)["state"] == "completed"

            # and watched until Ctrl-C
            watched = tmp_path / "watch"
            watch = command(LOCAL, "runqy-harness watch")
            with started(watch, tmp_path, watched, RUNQY_SERVER_URL=url) as watching:
                shows(watched, "inference")
                watching.send_signal(signal.SIGINT)
                assert watching.wait(30) == 0

            worker.terminate()
            assert worker.wait(60) == 0


def test_scenarios_are_listed(tmp_path: Path) -> None:
    listed = shell(command("docs/scenarios.md", "runqy-harness e2e --list"), tmp_path)

    assert listed.returncode == 0
    assert len(re.findall(r"^\w+/\w+ ", listed.stdout, re.MULTILINE)) > 20


def test_the_report_is_where_the_page_says(tmp_path: Path) -> None:
    # given the page's command, but for one story of its group
    line = command("docs/report.md", "runqy-harness e2e").replace(
        "--only recovery ", "--only heartbeat/life "
    )

    done = shell(line, tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    page = (ROOT / "docs" / "report.md").read_text()
    named = re.findall(r"`(report/report\.\w+)`", page)
    assert len(named) == 2
    assert all((tmp_path / name).stat().st_size > 1000 for name in named)


#: Plays the scenario in a file, or its first mutant; the exit status is 0 or why it failed.
_PLAY = """
import importlib.util, sys
from pathlib import Path
from harness.e2e.play import Part, play
from harness.sandbox.runtimes.process import ProcessRuntime

name = "harness.scenarios.shutdown.documented"
spec = importlib.util.spec_from_file_location(name, sys.argv[1])
sys.modules[name] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
mutation = module.play.mutations[0] if sys.argv[3:] else None
with ProcessRuntime([sys.executable, "-m", "appliance"]) as runtime:
    outcome = play(Part(module.play, mutation), runtime, Path(sys.argv[2]))
sys.exit(0 if outcome.passed else outcome.problem + outcome.diagnosis)
"""


def test_the_example_of_a_scenario_holds_and_its_mutant_does_not(tmp_path: Path) -> None:
    written = tmp_path / "documented.py"
    written.write_text(code("docs/scenarios.md", "python"))

    def played(*mutant: str) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / "-".join(("played", *mutant))
        folder.mkdir()
        words = [sys.executable, "-c", _PLAY, str(written), str(folder), *mutant]
        return shell(shlex.join(words), ROOT)

    assert (held := played()).returncode == 0, held.stderr
    assert (caught := played("mutant")).returncode == 0, caught.stderr
