"""deploy/kubernetes/: what it promises, read from the files. `tests_foreign` checks them by Kubernetes' own schemas."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from compose import ROOT
from test_compose import HAND_BACK_S

from chatq.contract.config_file import load_settings
from for_each import for_each

FOLDER = ROOT / "deploy/kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
OBJECTS: dict[tuple[str, str], dict[str, Any]] = {
    (made["kind"], made["metadata"]["name"]): made
    for path in FILES
    for made in yaml.safe_load_all(path.read_text("utf-8"))
}
PODS: dict[str, dict[str, Any]] = {
    name: made["spec"]["template"]["spec"]
    for (kind, name), made in OBJECTS.items()
    if kind in {"Deployment", "StatefulSet"}
}
OURS = ("worker", "front", "flower")


def container(name: str) -> dict[str, Any]:
    [found] = PODS[name]["containers"]
    return dict(found)


def test_there_are_the_parts_of_an_installation() -> None:
    assert set(PODS) == {*OURS, "valkey"}


@for_each("name", PODS)
def test_a_pod_is_as_pod_security_restricted_asks_and_writes_nothing_but_its_data(name: str) -> None:
    """Source: Kubernetes documentation, "Pod Security Standards", Restricted."""
    pod, inside = PODS[name]["securityContext"], container(name)["securityContext"]
    assert (pod["runAsNonRoot"], pod["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert pod["runAsUser"] > 0
    assert inside == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(PODS[name])
    assert not any("hostPath" in volume for volume in PODS[name].get("volumes", []))
    assert PODS[name]["automountServiceAccountToken"] is False


def test_the_namespace_enforces_it() -> None:
    labels = OBJECTS["Namespace", "chatq"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {
        made["metadata"].get("namespace") for (kind, _), made in OBJECTS.items() if kind != "Namespace"
    } == {"chatq"}


@for_each("name", OURS)
def test_ours_run_as_the_images_user(name: str) -> None:
    users = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    context = PODS[name]["securityContext"]
    assert users == [(str(context["runAsUser"]), str(context["runAsGroup"]))]


def test_the_settings_are_settings(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(OBJECTS["ConfigMap", "chatq-config"]["data"]["config.yaml"])
    settings = load_settings(tmp_path / "config.yaml", environ={})
    assert PODS["worker"]["terminationGracePeriodSeconds"] > settings.worker.grace + HAND_BACK_S
    mounts = {mount["name"]: mount["mountPath"] for mount in container("worker")["volumeMounts"]}
    for connection in settings.connections.values():
        assert connection.api_key is not None
        assert str(connection.api_key).startswith(f"file:{mounts['keys']}/")
    assert f"{mounts['config']}/config.yaml" in (ROOT / "Dockerfile").read_text("utf-8")


def test_keys_are_the_workers_alone_and_each_part_has_its_own_login() -> None:
    mounted = {
        name: {volume["secret"]["secretName"] for volume in PODS[name]["volumes"] if "secret" in volume}
        for name in OURS
    }
    assert mounted == {"worker": {"chatq-keys"}, "front": set(), "flower": set()}
    [keys] = [volume["secret"] for volume in PODS["worker"]["volumes"] if "secret" in volume]
    assert (
        keys["defaultMode"] == 0o440
    )  # root's, read by the group: as `chatq.contract.key_reference` wants it
    for name in OURS:
        assert container(name)["envFrom"] == [{"secretRef": {"name": f"chatq-{name}"}}]


@for_each(
    ("name", "probe", "asks"),
    [
        ("front", "readinessProbe", "/readyz"),
        ("front", "livenessProbe", "/healthz"),
        ("flower", "readinessProbe", "/healthcheck"),
        ("worker", "readinessProbe", ["python", "-m", "chatq_worker", "health"]),
        ("worker", "livenessProbe", ["python", "-m", "chatq_worker", "health"]),
    ],
)
def test_a_part_is_asked_for_its_health(name: str, probe: str, asks: object) -> None:
    found = container(name)[probe]
    assert asks in (found.get("httpGet", {}).get("path"), found.get("exec", {}).get("command"))


def test_an_outage_of_redis_ends_no_worker_within_ten_minutes() -> None:
    probe = container("worker")["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > 600


def test_what_nothing_allows_is_refused_by_the_network() -> None:
    nothing = OBJECTS["NetworkPolicy", "nothing"]["spec"]
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    calls = [
        (name, block["ipBlock"]["cidr"])
        for (kind, name), made in OBJECTS.items()
        if kind == "NetworkPolicy"
        for rule in made["spec"].get("egress", [])
        for block in rule["to"]
        if "ipBlock" in block
    ]
    assert calls == [("workers-call-providers", "0.0.0.0/0"), ("workers-call-providers", "::/0")]


@for_each("reference", ["Service", "Deployment", "StatefulSet", "PodDisruptionBudget", "NetworkPolicy"])
def test_what_is_selected_is_there(reference: str) -> None:
    labels = {name: f"app.kubernetes.io/name: {name}" for name in PODS}
    for (kind, name), made in OBJECTS.items():
        if kind == reference:
            chosen = re.findall(r"app\.kubernetes\.io/name: ([a-z]+)", yaml.safe_dump(made["spec"]))
            assert set(chosen) <= set(labels), name
    assert any(kind == reference for kind, _ in OBJECTS)


def test_the_scaled_object_is_as_keda_wants_it() -> None:
    schema = json.loads(Path(__file__).with_name("keda_scaled_object.json").read_text("utf-8"))
    made = OBJECTS["ScaledObject", "worker"]
    jsonschema.validate(made, schema)
    misspelt = json.loads(json.dumps(made).replace("cooldownPeriod", "coolDownPeriod"))
    with pytest.raises(jsonschema.ValidationError, match="coolDownPeriod"):
        jsonschema.validate(misspelt, schema)


@for_each("autoscaler", ["ScaledObject", "HorizontalPodAutoscaler"])
def test_workers_are_scaled_by_a_metric_that_the_front_has(autoscaler: str) -> None:
    made = OBJECTS[autoscaler, "worker"]
    assert made["spec"]["scaleTargetRef"]["name"] == "worker"
    [metric] = set(re.findall(r"chatq_\w+", json.dumps(made)))
    assert f'"{metric}"' in (ROOT / "producer/chatq/http/metrics.py").read_text("utf-8")


def test_the_page_names_every_file_and_every_secret() -> None:
    page = (FOLDER / "README.md").read_text("utf-8")
    assert [path.name for path in FILES if f"]({path.name})" not in page] == []
    needed = set(
        re.findall(
            r"(?:secretName|secretRef: \{name|secret: \{name|configMap: \{name): (chatq-[a-z-]+)",
            "".join(path.read_text("utf-8") for path in FILES),
        )
    )
    made = set(re.findall(r"create (?:secret generic|configmap) (\S+)", page)) | {"chatq-config"}
    assert needed == made
