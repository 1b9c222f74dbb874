"""The soak, on a worker that is sound and on one that leaks."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from harness import cli

#: The worker, with a thread beside it that keeps what it opens.
LEAKY = """
import os, sys, threading
# Before the worker has gevent replace it: this thread is not to begin with a hub while that is going on.
from time import sleep

def leak():
    while True:
        os.open("/dev/null", os.O_RDONLY)
        sleep(0.05)

threading.Thread(target=leak, daemon=True).start()
from appliance.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("leaks", [False, True], ids=["sound", "leaky"])
def test_a_leak_is_found_and_a_sound_worker_passes(
    tmp_path: Path, leaks: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "leaky.py").write_text(LEAKY)
    options = ["--duration", "9s", "--rate", "20", "--json", str(tmp_path / "soak.json")]
    if leaks:
        options += ["--worker", shlex.join([sys.executable, str(tmp_path / "leaky.py")])]

    status = cli.run(["soak", *options])

    changes = json.loads((tmp_path / "soak.json").read_text())["changes"]
    grown = {change["name"] for change in changes if change["growth"]}
    assert ("descriptors" in grown) is leaks, capsys.readouterr().out
    if leaks:
        assert status == 1
