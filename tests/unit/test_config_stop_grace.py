"""The grace that a worker gets to stop, against what its stop may take."""

from pathlib import Path

import pytest

from appliance.config.load import load
from appliance.config.settings import ProcessSettings, WorkerSettings
from appliance.config.stop_grace import needed_s
from tests.unit.config_garbage import REQUIRED


@pytest.mark.parametrize(
    ("given", "others", "warned"),
    [
        ({}, {}, False),
        ({"RUNQY_STOP_GRACE": "10s"}, {}, True),
        ({"RUNQY_STOP_GRACE": "34s"}, {}, True),
        ({"RUNQY_STOP_GRACE": "35s"}, {}, False),
        ({"RUNQY_STOP_GRACE": "10s"}, {"RUNQY_SHUTDOWN_TIMEOUT": "5s"}, False),
        ({"RUNQY_STOP_GRACE": "45s"}, {"RUNQY_PROCESS_STOP_GRACE": "20s"}, True),
    ],
    ids=[
        "nothing is known, nothing is said",
        "Docker's ten seconds are too few for the defaults",
        "one second short",
        "just enough",
        "enough for shorter tasks",
        "the process's own time counts",
    ],
)
def test_a_grace_too_short_for_a_stop_is_a_warning(
    tmp_path: Path, given: dict[str, str], others: dict[str, str], warned: bool
) -> None:
    loaded = load({**REQUIRED, **given, **others}, None, tmp_path)

    assert ["RUNQY_STOP_GRACE" in line for line in loaded.run_warnings] == [True] * warned


def test_the_warning_says_what_a_stop_takes_and_what_to_write_where(tmp_path: Path) -> None:
    (warning,) = load({**REQUIRED, "RUNQY_STOP_GRACE": "10s"}, None, tmp_path).run_warnings

    assert warning.startswith("RUNQY_STOP_GRACE='10s': a stop may take 35s ")
    for advice in ("--stop-timeout 45", "stop_grace_period: 45s", "terminationGracePeriodSeconds: 45"):
        assert advice in warning
    assert "RUNQY_STOP_GRACE=45s" in warning


def test_following_the_advice_silences_it(tmp_path: Path) -> None:
    advised = needed_s(WorkerSettings(("inference",)), ProcessSettings())

    assert load({**REQUIRED, "RUNQY_STOP_GRACE": f"{advised:g}s"}, None, tmp_path).run_warnings == ()
