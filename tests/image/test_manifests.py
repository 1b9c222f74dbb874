"""Manifests for many machines, held to Kubernetes' schemas, to the image and to the settings; no engine."""

import json
import re
import runpy
import shutil
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
    if path.name != "kustomization.yaml" and not path.name.startswith("scaled-object")
}
SCALED = {path.name: list(yaml.safe_load_all(path.read_text())) for path in KUBERNETES.glob("scaled-object*")}
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


KUSTOMIZATION = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())


def test_every_manifest_is_listed_and_the_optional_ones_are_not() -> None:
    assert sorted(KUSTOMIZATION["resources"]) == sorted(RESOURCES)


def test_no_apply_overwrites_the_key_that_was_made() -> None:
    documents = [*RESOURCES.values(), *(document for each in SCALED.values() for document in each)]
    assert not any(document["kind"] == "Secret" for document in documents)
    header = (KUBERNETES / "deployment.yaml").read_text().partition("apiVersion")[0]
    (mounted,) = [volume["secret"] for volume in POD["volumes"] if "secret" in volume]
    assert f"kubectl create secret generic {mounted['secretName']} --from-file=api-key=" in header


def test_the_image_is_the_one_that_is_built_and_can_be_renamed() -> None:
    build = (COMPOSE / "build.sh").read_text()
    name, tag = WORKER["image"].split(":")

    assert f"tag={name}:${{IMAGE_TAG:-{tag}}}" in build
    assert WORKER["imagePullPolicy"] == "IfNotPresent"
    assert [image["name"] for image in KUSTOMIZATION["images"]] == [name]


def test_a_release_that_cannot_start_takes_no_pod_away() -> None:
    spec = DEPLOYMENT["spec"]
    startup = WORKER["startupProbe"]
    longest_start_s = startup["periodSeconds"] * startup["failureThreshold"]

    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert spec["minReadySeconds"] >= 60
    assert spec["progressDeadlineSeconds"] > longest_start_s + spec["minReadySeconds"]
    environment = {item["name"]: item["value"] for item in WORKER["env"]}
    assert environment["RUNQY_DEGRADED_POLICY"] == "exit"
    budget = RESOURCES["disruption-budget.yaml"]["spec"]
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_an_update_of_a_swarm_waits_for_each_worker_and_is_rolled_back(tmp_path: Path) -> None:
    worker = yaml.safe_load((COMPOSE / "swarm/stack.yml").read_text())["services"]["worker"]
    update = worker["deploy"]["update_config"]
    recovery = load(
        {"RUNQY_SERVER_URL": "http://server", "RUNQY_QUEUES": "inference", "RUNQY_API_KEY": "key"},
        None,
        tmp_path,
    ).settings.recovery
    degrades_after_s = sum(
        min(recovery.initial_delay_s * recovery.backoff_factor**restart, recovery.max_delay_s)
        for restart in range(recovery.max_restarts)
    )

    assert worker["healthcheck"]["test"][1:] == ["runqy-appliance", "health", "--started"]
    assert worker["environment"]["RUNQY_DEGRADED_POLICY"] == "exit"
    assert (update["order"], update["failure_action"], update["parallelism"]) == (
        "start-first",
        "rollback",
        1,
    )
    assert update["max_failure_ratio"] == 0
    # A crash loop after the first ready is seen before the next worker is replaced.
    for name in ("monitor", "delay"):
        assert int(update[name].removesuffix("s")) > 2 * degrades_after_s


@pytest.mark.parametrize("name", ["production.yml", "swarm/stack.yml"])
def test_a_degraded_worker_of_a_compose_file_comes_back(name: str) -> None:
    worker = yaml.safe_load((COMPOSE / name).read_text())["services"]["worker"]

    assert worker["environment"]["RUNQY_DEGRADED_POLICY"] == "exit"
    policy = worker.get("restart") or worker["deploy"]["restart_policy"]["condition"]
    assert policy in {"unless-stopped", "any"}


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
        "startup": "/startedz",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert {get["port"] for get in paths.values()} == {"http"}
    ingress = RESOURCES["network-policy.yaml"]["spec"]["ingress"][0]
    assert [item["port"] for item in ingress["ports"]] == [int(port[1])]


def test_the_pod_runs_as_the_images_user_and_can_write_what_a_worker_writes() -> None:
    user = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    written = re.findall(r"RUNQY_(?:DEPLOYMENT|STATE)_DIR=(\S+)", DOCKERFILE)
    assert user is not None
    assert len(written) == 2

    context = POD["securityContext"]
    assert (str(context["runAsUser"]), str(context["runAsGroup"])) == user.groups()
    assert context["runAsNonRoot"] is True
    assert WORKER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounted = {mount["mountPath"]: mount["name"] for mount in WORKER["volumeMounts"]}
    assert {*written, "/tmp"} <= set(mounted)
    assert set(mounted.values()) == {volume["name"] for volume in POD["volumes"]}


def test_names_and_labels_fit_together() -> None:
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        DEPLOYMENT["spec"]["selector"]["matchLabels"],
        RESOURCES["disruption-budget.yaml"]["spec"]["selector"]["matchLabels"],
        RESOURCES["network-policy.yaml"]["spec"]["podSelector"]["matchLabels"],
    ]
    (mounted,) = [volume["secret"] for volume in POD["volumes"] if "secret" in volume]
    (key_file,) = [item["value"] for item in WORKER["env"] if item["name"] == "RUNQY_API_KEY_FILE"]
    folder = next(mount["mountPath"] for mount in WORKER["volumeMounts"] if mount["name"] == "api-key")

    assert all(selector.items() <= labels for selector in selectors)
    assert mounted["secretName"] == DEPLOYMENT["metadata"]["name"]
    assert key_file == f"{folder}/api-key"


@pytest.mark.parametrize("name", SCALED)
def test_keda_scales_the_deployment_and_takes_workers_away_slowly(name: str) -> None:
    *_, scaled = SCALED[name]
    spec = scaled["spec"]

    assert (scaled["apiVersion"], scaled["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    assert spec["scaleTargetRef"] == {"name": DEPLOYMENT["metadata"]["name"]}
    assert spec["minReplicaCount"] == 1
    # That would be for the step to 0 alone.
    assert "cooldownPeriod" not in spec
    down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] >= 300
    assert [policy["value"] for policy in down["policies"]] == [1]
    # KEDA takes every value of a trigger as text.
    values = [value for trigger in spec["triggers"] for value in trigger["metadata"].values()]
    assert all(isinstance(value, str) for value in values)


def test_keda_sums_what_waits_and_what_runs_over_the_sub_queues_with_credentials() -> None:
    login, scaled = SCALED["scaled-object.yaml"]
    triggers = scaled["spec"]["triggers"]
    (parent,) = [item["value"] for item in WORKER["env"] if item["name"] == "RUNQY_QUEUES"]

    lists = [re.fullmatch(r"asynq:{(\w+)\.(\w+)}:(\w+)", each["metadata"]["listName"]) for each in triggers]
    found = [found.groups() for found in lists if found]
    assert {(of, sub, state) for of, sub, state in found} == {
        (parent, sub, state) for sub in {sub for _, sub, _ in found} for state in ("pending", "active")
    }
    assert [each["name"] for each in triggers] == [f"{sub}_{state}" for _, sub, state in found]
    formula = scaled["spec"]["advanced"]["scalingModifiers"]["formula"]
    assert formula.split(" + ") == [each["name"] for each in triggers]
    assert login["kind"] == "TriggerAuthentication"
    assert {each["authenticationRef"]["name"] for each in triggers} == {login["metadata"]["name"]}
    assert {each["parameter"] for each in login["spec"]["secretTargetRef"]} == {"username", "password"}


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
    names = re.findall(r"\b(?:runqy_(?:worker|queue)_[a-z_]+|up|ALERTS)\b", expression)
    assert names
    ours = [name for name in names if name not in {"up", "ALERTS"}]  # those are Prometheus'
    assert all(f"| `{name.removesuffix('_bucket')}` |" in page for name in ours)
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


def test_a_release_names_its_base_by_a_digest_or_is_not_built(tmp_path: Path) -> None:
    bake: dict[str, Any] = hcl2.loads((ROOT / "docker-bake.hcl").read_text())
    variables = {_plain(name): body for item in bake["variable"] for name, body in item.items()}
    targets = {_plain(name): body for item in bake["target"] for name, body in item.items()}

    assert "${BASE_IMAGE}@${BASE_DIGEST}" in str(targets["common"]["args"]["BASE_IMAGE"])
    assert "true" in str(targets["release"]["args"]["PINNED"])
    assert re.fullmatch(r"|sha256:[0-9a-f]{64}", _plain(variables["BASE_DIGEST"]["default"]))
    # The check is the Dockerfile's own, in whatever way it is built.
    (check,) = re.findall(
        r"^RUN (case .*?esac) \\$", (ROOT / "Dockerfile").read_text(), re.MULTILINE | re.DOTALL
    )
    for pinned, base, status in (
        ("true", "python:3.12", 1),
        ("true", f"python:3.12@sha256:{'0' * 64}", 0),
        ("false", "python:3.12", 0),
    ):
        env = {"PINNED": pinned, "BASE_IMAGE": base}
        done = subprocess.run(["/bin/sh", "-c", check], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == status, (pinned, base)
        assert ("make pin" in done.stderr) == bool(status)


def test_the_bases_digest_is_looked_up_and_written_where_builds_read_it(tmp_path: Path) -> None:
    # given a copy of what is written to, and a docker that answers as one with a registry does
    for name in ("docker-bake.hcl", "compose/image/pin.sh"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    digest = "sha256:" + "1a" * 32
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\n[ "$2" != imagetools ] || echo {digest}\n')
    docker.chmod(0o755)

    # when
    env = {"PATH": f"{docker.parent}:/usr/bin:/bin"}
    subprocess.run([tmp_path / "compose" / "image" / "pin.sh"], env=env, check=True, capture_output=True)

    # then
    bake: dict[str, Any] = hcl2.loads((tmp_path / "docker-bake.hcl").read_text())
    variables = {_plain(name): body for item in bake["variable"] for name, body in item.items()}
    assert _plain(variables["BASE_DIGEST"]["default"]) == digest
    assert _plain(variables["BASE_IMAGE"]["default"]) == "python:3.12-slim-bookworm"


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
