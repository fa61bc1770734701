"""Callers known by client certificates, through the real Envoy."""

import socket
import ssl
from collections.abc import Iterator

import httpx
import pytest
import yaml

from tests.certificates import Authority
from tests.e2e.reloading import Reloads
from tests.e2e.stack import GATEWAY, SECONDS, Model, Stack, prompt, up

ID = "spiffe://acme.example/ns/data/sa/nightly"
BODY = prompt("demo: say hello")
REFUSED = r"alert|reset"
"""What a client sees whose handshake Envoy ends."""


def configuration(**tls: object) -> str:
    config = yaml.safe_load(GATEWAY)
    config["listen"] = {"tls": {"certificate": "ours/server.pem", "key": "ours/server.key", **tls}}
    config["authentication"]["certificates"] = {"trust_domains": ["acme.example"]}
    config["authorization"]["allow"] += [f'caller.kind == "certificate" && caller.id == "{ID}"']
    config["records"]["claims"] += ["trust_domain"]
    return yaml.safe_dump(config)


OPTIONAL = configuration(client_ca="clients/ca.pem", client_certificate="optional")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("client-certificates")
    Authority(folder / "ours").issue("server", "127.0.0.1")
    clients = Authority(folder / "clients")
    clients.issue("nightly", uri=ID)
    clients.issue("other-workload", uri="spiffe://acme.example/ns/data/sa/other")
    clients.issue("other-domain", uri=ID.replace("acme.example", "acme.example.evil.test"))
    clients.issue("no-spiffe", "nightly.acme.example", uri="https://acme.example/ns/data/sa/nightly")
    clients.issue("expired", uri=ID, days=-1)
    Authority(folder / "strangers", "authority").issue("nightly", uri=ID)  # the same names, another key
    with up(folder, environ={"MODEL_URL": model.url}, config=OPTIONAL) as running:
        yield running


def trusting(stack: Stack, certificate: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=stack.folder / "ours" / "ca.pem")
    if certificate:
        context.load_cert_chain(stack.folder / f"{certificate}.pem", stack.folder / f"{certificate}.key")
    return context


def call(stack: Stack, certificate: str = "", **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    url = stack.url.replace("http:", "https:") + "/v1/messages"
    return httpx.post(url, json=BODY, headers=sent, timeout=SECONDS, verify=trusting(stack, certificate))


def test_a_certificate_is_enough(secured: Stack) -> None:
    answer = call(secured, "clients/nightly", x_api_key="sk-which-the-SDK-insists-on")
    assert answer.status_code == 200, answer.text
    line = secured.record(answer)
    assert (line["jwt.sub"], line["jwt.iss"], line["caller.trust_domain"]) == (ID, "", "acme.example")


@pytest.mark.parametrize(
    ("certificate", "status", "error"),
    [
        ("clients/other-domain", 401, "wrong_trust_domain"),
        ("clients/no-spiffe", 401, "wrong_trust_domain"),
        ("clients/other-workload", 403, "not_allowed:authorization.allow"),
    ],
)
def test_a_certificate_that_does_not_do(secured: Stack, certificate: str, status: int, error: str) -> None:
    """A good token beside it does not help: the certificate has said who calls."""
    answer = call(secured, certificate, authorization=f"Bearer {secured.good_token}")
    assert answer.status_code == status, answer.text
    assert secured.record(answer)["error"] == error


def test_without_a_certificate_a_token_counts(secured: Stack) -> None:
    answer = call(secured, authorization=f"Bearer {secured.good_token}")
    assert answer.status_code == 200, answer.text
    assert secured.record(answer)["jwt.iss"] == "claude-code-lab"
    assert call(secured).status_code == 401


@pytest.mark.parametrize(
    "header",
    [
        {"x_forwarded_client_cert": f"Hash=ab;URI={ID}"},
        {"connection.uri_san_peer_certificate": ID, "connection.sha256_peer_certificate_digest": "ab" * 32},
        {"xds.filter_chain_name": "extproc.verified_clients", "x_envoy_peer_certificate": ID},
    ],
)
def test_no_header_poses_as_a_certificate(secured: Stack, header: dict[str, str]) -> None:
    answer = call(secured, **header)
    assert answer.status_code == 401
    assert secured.record(answer)["error"] == "credential_missing"


@pytest.mark.parametrize("certificate", ["strangers/nightly", "clients/expired"])
def test_a_certificate_that_cannot_be_verified_ends_the_handshake(secured: Stack, certificate: str) -> None:
    with pytest.raises((httpx.ConnectError, httpx.ReadError), match=REFUSED):
        call(secured, certificate, authorization=f"Bearer {secured.good_token}")


def handshake(stack: Stack, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    host, port = stack.url.rpartition("/")[2].split(":")
    plain = socket.create_connection((host, int(port)), SECONDS)
    return context.wrap_socket(plain, server_hostname=host, session=session)


def test_no_session_is_resumed(secured: Stack) -> None:
    """A resumed session would not be verified again."""
    context = trusting(secured, "clients/nightly")
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # its tickets come with the handshake
    with handshake(secured, context) as first, handshake(secured, context, first.session) as second:
        assert not second.session_reused


def test_a_connection_takes_no_new_call_after_its_time(secured: Stack) -> None:
    """Its certificate may be over by then. A call that runs comes to its end."""
    reloads = Reloads(secured)
    gateway = secured.folder / "gateway.yaml"
    gateway.write_text(configuration(client_ca="clients/ca.pem", connection_seconds=1))
    reloads.now()
    body = prompt("demo: say " + "word " * 20 + "\ndemo: slow 110", stream=True)
    url = secured.url.replace("http:", "https:") + "/v1/messages"
    with httpx.Client(verify=trusting(secured, "clients/nightly"), timeout=SECONDS) as client:
        peers: list[object] = []
        while len(set(peers)) < 2 and len(peers) < 10:
            with client.stream("POST", url, json=body) as answer:
                peers.append(answer.extensions["network_stream"].get_extra_info("client_addr"))
                assert "event: message_stop" in answer.read().decode()
            assert answer.elapsed.total_seconds() > 1
    assert 1 < len(peers) < 4


def test_a_certificate_can_be_required(secured: Stack) -> None:
    reloads = Reloads(secured, said=1)
    gateway = secured.folder / "gateway.yaml"
    gateway.write_text(configuration(client_ca="clients/ca.pem"))
    reloads.now()
    with pytest.raises((httpx.ConnectError, httpx.ReadError), match=REFUSED):
        call(secured, authorization=f"Bearer {secured.good_token}")
    assert call(secured, "clients/nightly").status_code == 200
    (secured.folder / "strangers" / "ca.pem").replace(secured.folder / "clients" / "ca.pem")
    reloads.now()
    assert call(secured, "strangers/nightly").status_code == 200
    with pytest.raises((httpx.ConnectError, httpx.ReadError), match=REFUSED):
        call(secured, "clients/nightly")
