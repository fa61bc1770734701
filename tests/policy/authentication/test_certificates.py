import json
from pathlib import Path
from typing import Any

import pytest

from extproc.events import Headers, PeerCertificate
from extproc.policy.authentication.authenticator import Presented
from extproc.policy.authentication.certificates import ClientCertificates, trust_domain
from extproc.policy.authentication.credential import Unproven
from extproc.policy.facts import Caller
from tests.playbook import done
from tests.settings import MODELS, PROVIDERS, authenticating, faults

ID = "spiffe://acme.example/ns/data/sa/nightly"
SUBJECT = "CN=nightly,O=Acme"
LISTEN = "listen: {tls: {certificate: a.pem, key: a.key, client_ca: ca.pem}}"


def identified(certificate: PeerCertificate | None, *trust_domains: str) -> Caller | None:
    presented = Presented(Headers(), certificate, ["authorization"], 1024)
    return done(ClientCertificates(trust_domains).identify(presented, 0))


@pytest.mark.parametrize(
    ("certificate", "claims"),
    [
        (
            PeerCertificate(ID, SUBJECT, "ab"),
            {"sub": ID, "uri": ID, "subject": SUBJECT, "trust_domain": "acme.example", "sha256": "ab"},
        ),
        (PeerCertificate(ID, "", "ab"), {"sub": ID, "uri": ID, "trust_domain": "acme.example", "sha256": "ab"}),
        (PeerCertificate("", SUBJECT, "ab"), {"sub": SUBJECT, "subject": SUBJECT, "sha256": "ab"}),
        (
            PeerCertificate("https://acme.example/x", SUBJECT, "ab"),
            {"sub": "https://acme.example/x", "uri": "https://acme.example/x", "subject": SUBJECT, "sha256": "ab"},
        ),
    ],
)
def test_what_a_certificate_says(certificate: PeerCertificate, claims: dict[str, Any]) -> None:
    assert identified(certificate) == Caller(claims, "certificate")


def test_without_a_certificate_others_are_asked() -> None:
    assert identified(None) is None and identified(None, "acme.example") is None


@pytest.mark.parametrize(
    ("certificate", "problem"),
    [
        (PeerCertificate("", "", "ab"), "certificate_without_name"),
        (PeerCertificate("key:nightly", SUBJECT, "ab"), "reserved_subject"),
        (PeerCertificate("", SUBJECT, "ab"), "wrong_trust_domain"),
        (PeerCertificate(ID.replace("acme", "evil"), SUBJECT, "ab"), "wrong_trust_domain"),
        (PeerCertificate(ID.replace("spiffe:", "https:"), SUBJECT, "ab"), "wrong_trust_domain"),
    ],
)
def test_what_is_refused(certificate: PeerCertificate, problem: str) -> None:
    with pytest.raises(Unproven, match=f"^{problem}$"):
        identified(certificate, "acme.example")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (ID, "acme.example"),
        ("spiffe://acme.example", "acme.example"),
        ("spiffe://acme.example/", ""),
        ("spiffe://acme.example/a//b", ""),
        ("spiffe://acme.example/..", ""),
        ("spiffe://acme.example/a/./b", ""),
        ("spiffe://acme.example/...", "acme.example"),
        ("spiffe://ACME.example/a", ""),
        ("SPIFFE://acme.example/a", ""),
        ("spiffe://user@acme.example/a", ""),
        ("spiffe://acme.example:443/a", ""),
        ("spiffe://acme.example/a?b", ""),
        ("spiffe://acme.example/a#b", ""),
        ("spiffe://acme.example/a%2Fb", ""),
        ("spiffe:///a", ""),
        ("spiffe://acme.example/a\n", ""),
        ("spiffe://acme.example/" + "a" * 2048, ""),
    ],
)
def test_trust_domains(uri: str, expected: str) -> None:
    assert trust_domain(uri) == expected


def test_certificates_alone_are_enough_for_a_configuration(tmp_path: Path) -> None:
    text = f"authentication: {{certificates: {{}}}}\n{LISTEN}\n{PROVIDERS}\n{MODELS}"
    assert faults(tmp_path, text) == []


@pytest.mark.parametrize("listen", ["", "listen: {tls: {certificate: a.pem, key: a.key}}"])
def test_they_must_be_verified_by_our_own_listener(tmp_path: Path, listen: str) -> None:
    text = f"{authenticating(authentication={'certificates': {}})}\n{listen}\n{PROVIDERS}\n{MODELS}"
    [fault] = faults(tmp_path, text)
    assert fault.startswith("1: authentication.certificates: needs `listen: {tls: {client_ca: FILE}}`")


@pytest.mark.parametrize("domain", ["spiffe://acme.example", "Acme", "", "a b"])
def test_a_trust_domain_is_a_name(tmp_path: Path, domain: str) -> None:
    certificates = {"trust_domains": [domain]}
    text = f"{authenticating(authentication={'certificates': certificates})}\n{LISTEN}\n{PROVIDERS}\n{MODELS}"
    [fault] = faults(tmp_path, text)
    assert fault.startswith("1: authentication.certificates.trust_domains.0: ")
    assert json.dumps(domain) not in fault
