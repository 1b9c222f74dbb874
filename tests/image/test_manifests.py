"""Manifests for many machines, held to Kubernetes' schemas, to the image and to the settings; no engine."""

import json
import re
import runpy
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hcl2
import kubernetes_validate
import pytest
import yaml

from appliance.config.load import load
from appliance.config.stop_grace import needed_s
from tests.image.engine import ROOT

COMPOSE = ROOT / "compose"
KUBERNETES = COMPOSE / "kubernetes"
RESOURCES = {
    path.name: yaml.safe_load(path.read_text())
    for path in sorted(KUBERNETES.glob("*.yaml"))
    if path.name not in ("kustomization.yaml", "scaled-object.yaml")
}
DEPLOYMENT = RESOURCES["deployment.yaml"]
POD = DEPLOYMENT["spec"]["template"]["spec"]
WORKER = POD["containers"][0]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
DASHBOARD = COMPOSE / "monitoring" / "dashboards" / "runqy-workers.json"


def grace_s(environment: dict[str, str], tmp_path: Path) -> float:
    """The grace that a worker with these variables has to be given; no warning is left."""
    fixed = {
        "RUNQY_SERVER_URL": "http://server",
        "RUNQY_QUEUES": "inference",
        "RUNQY_API_KEY": "key",
        "RUNQY_DEPLOYMENT_DIR": str(tmp_path),
    }
    own = {name: value for name, value in environment.items() if not name.endswith("_FILE")}
    loaded = load({**own, **fixed}, None, tmp_path)
    assert loaded.warnings == ()
    return needed_s(loaded.settings.worker, loaded.settings.process)


@pytest.mark.parametrize("name", RESOURCES)
@pytest.mark.parametrize("cluster", ["1.28", "1.34"])
def test_a_manifest_is_what_kubernetes_understands(name: str, cluster: str) -> None:
    kubernetes_validate.validate(RESOURCES[name], cluster, strict=True)


def test_a_manifest_with_a_misspelt_field_is_refused() -> None:
    wrong = json.loads(json.dumps(DEPLOYMENT))
    wrong["spec"]["template"]["spec"]["terminationGracePeriod"] = 45

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.34", strict=True)


def test_every_manifest_is_listed_and_the_optional_one_is_not() -> None:
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]

    assert sorted(listed) == sorted(RESOURCES)


def test_the_pod_is_given_as_long_as_its_settings_need(tmp_path: Path) -> None:
    environment = {item["name"]: item["value"] for item in WORKER["env"]}

    assert POD["terminationGracePeriodSeconds"] == grace_s(environment, tmp_path)
    assert environment["RUNQY_STOP_GRACE"] == f"{POD['terminationGracePeriodSeconds']}s"


@pytest.mark.parametrize("name", ["production.yml", "swarm/stack.yml"])
def test_a_compose_service_is_given_as_long_as_its_settings_need(name: str, tmp_path: Path) -> None:
    service = yaml.safe_load((COMPOSE / name).read_text())["services"]["worker"]

    assert service["stop_grace_period"] == f"{grace_s(service['environment'], tmp_path):g}s"
    assert service["environment"]["RUNQY_STOP_GRACE"] == service["stop_grace_period"]


def test_probes_ask_where_the_image_serves() -> None:
    port = re.search(r"RUNQY_HTTP_ADDR=0\.0\.0\.0:(\d+)", DOCKERFILE)
    assert port is not None

    assert WORKER["ports"] == [{"name": "http", "containerPort": int(port[1])}]
    paths = {name: WORKER[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: get["path"] for name, get in paths.items()} == {
        "startup": "/readyz",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert {get["port"] for get in paths.values()} == {"http"}
    ingress = RESOURCES["network-policy.yaml"]["spec"]["ingress"][0]
    assert [item["port"] for item in ingress["ports"]] == [int(port[1])]


def test_the_pod_runs_as_the_images_user_and_can_write_what_the_image_declares() -> None:
    user = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    volumes = re.search(r"^VOLUME (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert user is not None
    assert volumes is not None

    context = POD["securityContext"]
    assert (str(context["runAsUser"]), str(context["runAsGroup"])) == user.groups()
    assert context["runAsNonRoot"] is True
    assert WORKER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounted = {mount["mountPath"]: mount["name"] for mount in WORKER["volumeMounts"]}
    assert set(json.loads(volumes[1])) <= set(mounted)
    assert set(mounted.values()) == {volume["name"] for volume in POD["volumes"]}


def test_names_and_labels_fit_together() -> None:
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        DEPLOYMENT["spec"]["selector"]["matchLabels"],
        RESOURCES["disruption-budget.yaml"]["spec"]["selector"]["matchLabels"],
        RESOURCES["network-policy.yaml"]["spec"]["podSelector"]["matchLabels"],
    ]
    secret = RESOURCES["secret.yaml"]
    (mounted,) = [volume["secret"] for volume in POD["volumes"] if "secret" in volume]
    (key_file,) = [item["value"] for item in WORKER["env"] if item["name"] == "RUNQY_API_KEY_FILE"]
    folder = next(mount["mountPath"] for mount in WORKER["volumeMounts"] if mount["name"] == "api-key")

    assert all(selector.items() <= labels for selector in selectors)
    assert mounted["secretName"] == secret["metadata"]["name"]
    assert key_file.removeprefix(f"{folder}/") in secret["stringData"]


def test_keda_watches_the_waiting_tasks_of_the_queue_that_is_served() -> None:
    scaled = yaml.safe_load((KUBERNETES / "scaled-object.yaml").read_text())
    (trigger,) = scaled["spec"]["triggers"]
    (parent,) = [item["value"] for item in WORKER["env"] if item["name"] == "RUNQY_QUEUES"]

    assert (scaled["apiVersion"], scaled["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    assert scaled["spec"]["scaleTargetRef"] == {"name": DEPLOYMENT["metadata"]["name"]}
    assert trigger["type"] == "redis"
    assert trigger["metadata"]["listName"] == f"asynq:{{{parent}.default}}:pending"
    # KEDA takes every value of a trigger as text.
    assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    source = yaml.safe_load((COMPOSE / "monitoring/provisioning/datasources/prometheus.yml").read_text())

    assert len({panel["id"] for panel in panels}) == len(panels) > 8
    assert all(panel["title"] and panel["targets"] for panel in panels)
    assert {panel["datasource"]["uid"] for panel in panels} == {source["datasources"][0]["uid"]}
    cells = [(x, y) for panel in panels for x, y in _cells(panel["gridPos"])]
    assert len(cells) == len(set(cells))


def _cells(place: dict[str, int]) -> list[tuple[int, int]]:
    return [
        (x, y)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]


def expressions() -> list[str]:
    alerts = yaml.safe_load((COMPOSE / "monitoring" / "alerts.yml").read_text())
    rules = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return rules + [target["expr"] for panel in panels for target in panel["targets"]]


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_is_balanced_and_names_metrics_that_the_worker_has(expression: str) -> None:
    # The page's table is held to the worker's live output by a test of its own.
    page = (ROOT / "docs" / "operations.md").read_text()
    names = re.findall(r"\brunqy_worker_[a-z_]+", expression)
    assert names
    assert all(f"| `{name.removesuffix('_bucket')}` |" in page for name in names)
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)


def test_the_bake_file_builds_what_the_make_targets_build() -> None:
    bake: dict[str, Any] = hcl2.loads((ROOT / "docker-bake.hcl").read_text())
    targets = {_plain(name): body for item in bake["target"] for name, body in item.items()}

    assert {"worker", "harness"} <= set(targets)
    for name, body in targets.items():
        if "dockerfile" in body:
            assert (ROOT / _plain(body["dockerfile"])).is_file(), name
    platforms = [_plain(platform) for platform in targets["common"]["platforms"]]
    assert platforms == ["linux/amd64", "linux/arm64"]


def test_a_bake_file_with_a_mistake_is_refused() -> None:
    text = (ROOT / "docker-bake.hcl").read_text().replace("target ", "target = ", 1)

    with pytest.raises(Exception, match=r".+"):
        hcl2.loads(text)


def test_the_changelog_knows_the_version_and_what_is_to_come() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert headings[0] == "Unreleased"
    assert any(heading.startswith(version("runqy-appliance")) for heading in headings)


def test_the_sbom_lists_every_locked_package_with_version_and_hash(tmp_path: Path) -> None:
    # when
    out = tmp_path / "sbom.json"
    subprocess.run([sys.executable, ROOT / ".ci" / "sbom.py", out], check=True, cwd=ROOT)

    # then it is complete, and the same each time
    document = json.loads(out.read_text())
    lock = (COMPOSE / "image" / "worker.lock").read_text()
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock, re.MULTILINE))
    listed = {item["name"]: item for item in document["components"]}
    assert document["bomFormat"] == "CycloneDX"
    assert {name: item["version"] for name, item in listed.items() if name in locked} == locked
    assert {"uv"} <= set(listed)
    assert all(item["purl"].startswith("pkg:pypi/") for item in listed.values())
    assert all(len(digest["content"]) == 64 for item in listed.values() for digest in _hashes(item))
    first = out.read_bytes()
    subprocess.run([sys.executable, ROOT / ".ci" / "sbom.py", out], check=True, cwd=ROOT)
    assert out.read_bytes() == first


@pytest.mark.parametrize(
    ("packages", "status", "said"),
    [
        ([{"name": "a", "version": "1", "vulns": []}], 0, "no known vulnerability in 1 packages"),
        (
            [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}],
            1,
            "a 1: CVE-1, mended in 2",
        ),
        ([{"name": "a", "skip_reason": "the index is silent"}], 0, "1 of 1 NOT LOOKED UP"),
    ],
    ids=["clean", "a finding fails", "what was not looked up is not called clean"],
)
def test_an_audit_fails_on_findings_and_never_calls_clean_what_it_did_not_see(
    packages: list[dict[str, Any]], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    audit = runpy.run_path(str(ROOT / ".ci" / "audit.py"))

    assert audit["judge"]("worker.lock", packages) == status
    output = capsys.readouterr().out
    assert said in output
    assert ("no known" in output) == (said.startswith("no known"))


def _hashes(item: dict[str, Any]) -> list[dict[str, str]]:
    found = [digest for reference in item["externalReferences"] for digest in reference["hashes"]]
    assert found
    return found


def _plain(text: str) -> str:
    """Some versions of the parser keep the quotes."""
    return text.strip('"')
