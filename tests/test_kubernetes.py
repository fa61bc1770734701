"""deploy/kubernetes: of the right form, at one with itself, and without rights."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from kubernetes_validate.utils import ValidationError, validate

from extproc import gateway
from tests.issuing import jwk
from tests.manifests import FILES, ROOT, Json, containers, documents, only, pod

SCHEMAS: Json = yaml.safe_load((ROOT / "tests/data/kubernetes/envoy-gateway.yaml").read_text())
NEWEST = "1.37"
OLDEST = "1.30"  # the first whose `preStop` sleeps without being asked to
# Where stopping a pod spends its time: Envoy's `preStop`, its drain, and the processor's own two steps.
PROCESSOR_SECONDS = 15
CONFIGURATION: str = only("sidecar.yaml", "ConfigMap")["data"]["gateway.yaml"]
SETTINGS: Json = yaml.safe_load(CONFIGURATION)


def spelled(documents: list[Json]) -> list[tuple[str, Json]]:
    return [(f"{document['kind']} {document['metadata']['name']}", document) for document in documents]


EVERY = [pytest.param(document, id=f"{file} {name}") for file in FILES for name, document in spelled(documents(file))]


@pytest.mark.parametrize("document", EVERY)
def test_form(document: Json) -> None:
    if document["kind"] in SCHEMAS:
        jsonschema.Draft202012Validator({**SCHEMAS[document["kind"]], "$defs": SCHEMAS["$defs"]}).validate(
            document["spec"]
        )
    else:
        for version in (OLDEST, NEWEST):
            validate(document, version, strict=True)


def test_a_wrong_form_is_seen() -> None:
    wrong = only("sidecar.yaml", "PodDisruptionBudget")
    wrong["spec"]["maxUnavailble"] = 1
    with pytest.raises(ValidationError):
        validate(wrong, NEWEST, strict=True)


@pytest.mark.parametrize("file", FILES)
def test_containers_have_no_rights(file: str) -> None:
    assert pod(file)["securityContext"]["runAsNonRoot"] is True
    assert pod(file)["automountServiceAccountToken"] is False
    for container in containers(file):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("file", FILES)
def test_what_is_mounted_is_there(file: str) -> None:
    volumes = {volume["name"] for volume in pod(file)["volumes"]}
    mounted = {mount["name"] for container in containers(file) for mount in container["volumeMounts"]}
    assert mounted == volumes


@pytest.mark.parametrize("file", FILES)
def test_labels_and_ports_meet(file: str) -> None:
    deployment = only(file, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert only(file, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    service = only(file, "Service")["spec"]
    ports = {port["name"] for container in containers(file) for port in container.get("ports", [])}
    assert service["selector"] == labels and service["ports"][0]["targetPort"] in ports


@pytest.mark.parametrize("file", FILES)
def test_there_is_time_to_finish(file: str) -> None:
    last = containers(file)[-1]
    drain = sum(int(entry["value"]) for entry in last.get("env", []) if entry["name"] == "DRAIN_SECONDS") or 600
    spent = last["lifecycle"]["preStop"]["sleep"]["seconds"] + drain + PROCESSOR_SECONDS
    assert pod(file)["terminationGracePeriodSeconds"] >= spent


def test_the_processor_is_up_before_envoy_and_ends_after_it() -> None:
    [sidecar] = pod("sidecar.yaml")["initContainers"]
    assert (sidecar["name"], sidecar["restartPolicy"]) == ("processor", "Always")
    assert sidecar["startupProbe"]["httpGet"]["path"] == "/livez"


@pytest.mark.parametrize("file", FILES)
def test_a_processor_without_its_issuers_keys_is_alive_and_gets_no_calls(file: str) -> None:
    """A restart brings no identity provider back."""
    [processor] = [one for one in containers(file) if one["name"] == "processor"]
    asked = {kind: processor[f"{kind}Probe"]["httpGet"] for kind in ("liveness", "readiness")}
    assert {kind: probe["path"] for kind, probe in asked.items()} == {"liveness": "/livez", "readiness": "/readyz"}
    ports = {port["name"]: port["containerPort"] for port in processor["ports"]}
    assert {ports[probe["port"]] for probe in asked.values()} == {SETTINGS["health"]["port"]}


@pytest.mark.parametrize("file", FILES)
def test_metrics_are_on_and_their_port_is_named(file: str) -> None:
    [processor] = [one for one in containers(file) if one["name"] == "processor"]
    ports = {port["name"]: port["containerPort"] for port in processor["ports"]}
    assert ports["metrics"] == SETTINGS["metrics"]["port"] and SETTINGS["metrics"]["address"] == "0.0.0.0"


def test_envoy_refuses_calls_before_its_container_is_ended() -> None:
    limit = containers("sidecar.yaml")[-1]["resources"]["limits"]["memory"]
    assert limit == "1Gi" and SETTINGS["limits"]["memory_bytes"] <= 0.8 * 2**30


def test_the_configuration_has_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = CONFIGURATION
    for place, name, content in (
        ("/etc/jwks", "jwks.json", json.dumps({"keys": [jwk()]})),
        ("/run/secrets/extproc", "openai_api_key", "key"),
    ):
        assert f"{place}/{name}" in text
        text = text.replace(f"{place}/{name}", str(tmp_path / name))
        (tmp_path / name).write_text(content)
    (tmp_path / "gateway.yaml").write_text(text)
    gateway.load(tmp_path / "gateway.yaml")
