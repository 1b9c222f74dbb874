"""The alert rules, played with Prometheus' ``promtool``: each fires in its case and is silent in its twin."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.image.alert_cases import CASES, Case
from tests.image.engine import ROOT

RULES = ROOT / "compose" / "monitoring" / "alerts.yml"
DASHBOARD = ROOT / "compose" / "monitoring" / "dashboards" / "runqy-workers.json"
PAGE = ROOT / "docs" / "operations.md"
PROMTOOL = shutil.which("promtool")
#: Where ``make system`` installs it there is no excuse.
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None and (os.geteuid() != 0 or shutil.which("apt-get") is None),
    reason="no promtool, and no root with apt-get to install it: it is in Debian's package prometheus",
)


def rules() -> dict[str, Any]:
    return yaml.safe_load(RULES.read_text())  # type: ignore[no-any-return]


def names() -> list[str]:
    return [rule["alert"] for group in rules()["groups"] for rule in group["rules"]]


def play(cases: Sequence[Case], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Have promtool judge the rules by these cases."""
    tests = [
        {
            "name": case.name,
            "interval": "15s",
            "input_series": [
                {"series": name, "values": values} for each in case.series for name, values in each.items()
            ],
            "promql_expr_test": [
                _expect("ALERTS", case.fires, case.minutes),
                # A twin fires at no time.
                *([] if case.fires else [_expect("max_over_time(ALERTS%s[3h])", case.fires, case.minutes)]),
            ],
        }
        for case in cases
    ]
    played = {"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": tests}
    (folder / "tests.yml").write_text(json.dumps(played))
    command = [PROMTOOL or "promtool", "test", "rules", "tests.yml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)


def _expect(series: str, alerts: frozenset[str], minutes: int) -> dict[str, Any]:
    firing = '{alertstate="firing"}'
    found = series % firing if "%s" in series else series + firing
    return {
        "expr": f"max by (alertname) ({found})",
        # The last sample came one interval before.
        "eval_time": f"{minutes * 60 - 15}s",
        "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(alerts)],
    }


@needs_promtool
def test_the_rules_are_what_prometheus_understands() -> None:
    done = subprocess.run(
        [PROMTOOL or "", "check", "rules", "--lint-fatal", str(RULES)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_dashboards_expressions_are_what_prometheus_understands(tmp_path: Path) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    values = {f"${each['name']}": ".*" for each in dashboard["templating"]["list"]}
    values["$__rate_interval"] = "1m"
    expressions = []
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in values.items():
                expression = expression.replace(name, value)
            expressions.append(expression)
    # Grafana fills in what it knows; a variable that nobody defines would stay.
    assert not [expression for expression in expressions if "$" in expression]
    panels = [{"record": f"panel_{n}", "expr": expression} for n, expression in enumerate(expressions)]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": panels}]}))
    done = subprocess.run(
        [PROMTOOL or "", "check", "rules", str(file)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_each_of_the_dashboards_panels_can_be_narrowed_down() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    names = {each["name"] for each in dashboard["templating"]["list"]}
    narrowed = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]

    assert names == {"parent", "queue", "instance"}
    assert all(any(f"${name}" in each for name in names) for each in narrowed if "ALERTS" not in each)


@pytest.fixture(scope="module")
def all_hold(tmp_path_factory: pytest.TempPathFactory) -> bool:
    """Whether every case goes as it says; one run is far cheaper than one for each."""
    return play(CASES, tmp_path_factory.mktemp("all")).returncode == 0


@needs_promtool
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_fires_at_the_end_of_a_case_and_what_does_not(
    case: Case, all_hold: bool, tmp_path: Path
) -> None:
    if not all_hold:
        done = play([case], tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("firing", [True, False], ids=["missing", "false"])
def test_a_wrong_alert_would_be_found(firing: bool, tmp_path: Path) -> None:
    case = next(case for case in CASES if bool(case.fires) is firing)
    wrong = replace(case, fires=frozenset() if firing else frozenset(["RunqyNoWorker"]))

    assert play([case], tmp_path).returncode == 0
    assert play([wrong], tmp_path).returncode != 0


@pytest.mark.parametrize("alert", names())
def test_an_alert_has_a_case_and_a_twin(alert: str) -> None:
    assert any(alert in case.fires for case in CASES)
    assert any(alert in case.twin_of for case in CASES)


def anchors(page: str) -> set[str]:
    """What links into a page may name."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_alert_is_on_the_page_and_names_its_part_of_it() -> None:
    page = PAGE.read_text()
    lines = re.findall(r"^\| `(Runqy\w+)` \|(.+)\|$", page, re.MULTILINE)
    # The first place is the alert's own; a second one may be a case of it.
    rows = {alert: re.findall(r"\(#([\w-]+)\)", line) for alert, line in lines}

    linked = {
        rule["alert"]: rule["annotations"]["runbook"].removeprefix("docs/operations.md#")
        for group in rules()["groups"]
        for rule in group["rules"]
    }
    assert {alert: places[0] for alert, places in rows.items()} == linked
    assert {place for places in rows.values() for place in places} <= anchors(page)
