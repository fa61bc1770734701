"""deploy/kubernetes: of the right form, at one with itself, and without rights."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from kubernetes_validate.utils import ValidationError, validate

from extproc.gateway import gateway
from tests.certificates import Authority
from tests.issuing import jwk
from tests.manifests import ALL, FILES, ROOT, Json, containers, documents, only, pod

SCHEMAS: Json = yaml.safe_load((ROOT / "tests/data/kubernetes/envoy-gateway.yaml").read_text())
NEWEST = "1.37"
OLDEST = "1.30"  # the first whose `preStop` sleeps without being asked to
# Where stopping a pod spends its time: Envoy's `preStop`, its drain, and the processor's own two steps.
PROCESSOR_SECONDS = 15
CONFIGURATIONS: dict[str, str] = {file: only(file, "ConfigMap")["data"]["gateway.yaml"] for file in FILES}
SETTINGS: dict[str, Json] = {file: yaml.safe_load(text) for file, text in CONFIGURATIONS.items()}


def spelled(documents: list[Json]) -> list[tuple[str, Json]]:
    return [(f"{document['kind']} {document['metadata']['name']}", document) for document in documents]


EVERY = [pytest.param(document, id=f"{file} {name}") for file in ALL for name, document in spelled(documents(file))]


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
    assert {ports[probe["port"]] for probe in asked.values()} == {SETTINGS[file]["health"]["port"]}


@pytest.mark.parametrize("file", FILES)
def test_metrics_are_on_and_their_port_is_named(file: str) -> None:
    [processor] = [one for one in containers(file) if one["name"] == "processor"]
    ports = {port["name"]: port["containerPort"] for port in processor["ports"]}
    metrics = SETTINGS[file]["metrics"]
    assert ports["metrics"] == metrics["port"] and metrics["address"] == "0.0.0.0"


def test_envoy_refuses_calls_before_its_container_is_ended() -> None:
    limit = containers("sidecar.yaml")[-1]["resources"]["limits"]["memory"]
    assert limit == "1Gi" and SETTINGS["sidecar.yaml"]["limits"]["memory_bytes"] <= 0.8 * 2**30


@pytest.mark.parametrize("file", FILES)
def test_the_configuration_has_no_fault(tmp_path: Path, file: str) -> None:
    Authority(tmp_path).issue("server")
    contents = {
        "/etc/jwks/jwks.json": json.dumps({"keys": [jwk()]}),
        "/run/secrets/extproc/openai_api_key": "key",
        "/run/tls/tls.crt": (tmp_path / "server.pem").read_text(),
        "/run/tls/tls.key": (tmp_path / "server.key").read_text(),
        "/run/tls/ca.crt": (tmp_path / "ca.pem").read_text(),
    }
    text = CONFIGURATIONS[file]
    mounts = [mount["mountPath"] for mount in containers(file)[0]["volumeMounts"]]
    for place, content in contents.items():
        path = tmp_path / place.rpartition("/")[2]
        path.write_text(content)
        assert place not in text or place.rpartition("/")[0] in mounts
        text = text.replace(place, str(path))
    (tmp_path / "gateway.yaml").write_text(text)
    made = gateway.load(tmp_path / "gateway.yaml")
    assert (made.tls is not None) is (file == "envoy-gateway.yaml")


@pytest.mark.parametrize("file", FILES)
def test_only_what_is_needed_comes_in_and_goes_out(file: str) -> None:
    labels = only(file, "Deployment")["spec"]["template"]["metadata"]["labels"]
    policy = only(file, "NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"] == labels and set(policy["policyTypes"]) == {"Ingress", "Egress"}
    [incoming] = policy["ingress"]
    [service] = only(file, "Service")["spec"]["ports"]
    assert [port["port"] for port in incoming["ports"]] == [service["targetPort"]]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 443}


def test_only_the_gateways_envoys_reach_the_processor() -> None:
    [incoming] = only("envoy-gateway.yaml", "NetworkPolicy")["spec"]["ingress"]
    [peer] = incoming["from"]  # one, so both of its selectors must fit
    owner = only("envoy-gateway.yaml", "Gateway")["metadata"]
    assert peer["podSelector"]["matchLabels"] == {
        f"gateway.envoyproxy.io/owning-gateway-{key}": owner[key] for key in ("name", "namespace")
    }
    assert "envoy-gateway-system" in str(peer["namespaceSelector"])


def test_envoy_and_processor_prove_who_they_are() -> None:
    file = "envoy-gateway.yaml"
    made = {
        one["spec"]["secretName"]: one["spec"] for one in documents("certificates.yaml") if one["kind"] == "Certificate"
    }
    service = only(file, "Service")["metadata"]["name"]
    policy = only(file, "BackendTLSPolicy", service)["spec"]
    assert policy["targetRefs"] == [{"group": "", "kind": "Service", "name": service}]
    shown = only(file, "EnvoyProxy")["spec"]["backendTLS"]["clientCertificateRef"]
    assert "client auth" in made[shown["name"]]["usages"]
    assert [one["name"] for one in policy["validation"]["caCertificateRefs"]] == [shown["name"]]
    [volume] = [one for one in pod(file)["volumes"] if one["name"] == "tls"]
    server = made[volume["secret"]["secretName"]]
    assert "server auth" in server["usages"] and server["dnsNames"] == [policy["validation"]["hostname"]]
    assert server["issuerRef"] == made[shown["name"]]["issuerRef"]
    used = only(file, "Gateway")["spec"]["infrastructure"]["parametersRef"]
    assert (used["kind"], used["name"]) == ("EnvoyProxy", only(file, "EnvoyProxy")["metadata"]["name"])
    assert "appProtocol" not in only(file, "Service")["spec"]["ports"][0]  # h2c is plaintext
