"""TLS towards the provider: the certificate must be of a trusted authority, and for the provider's own name."""

import datetime as dt
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.e2e.canned import Canned, upstream
from tests.e2e.stack import GATEWAY, Stack, prompt, up
from tests.e2e.test_vectors import FINE

DAY = dt.timedelta(days=1)


def certificate(folder: Path, name: str, days: int = 1) -> ssl.SSLContext:
    """For a server called `name`, good for so many days from now; `ca.pem` in the folder is what trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(
            subject, subject, key.public_key(), x509.random_serial_number(), now - 2 * DAY, now + days * DAY
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "ca.pem").write_bytes(pem)
    (folder / "server.pem").write_bytes(pem + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


def gateway(folder: Path, name: str, *, trusted: bool, days: int) -> Iterator[Stack]:
    with upstream(certificate(folder, name, days)) as provider:
        provider.answers["gpt-4o-mini"] = Canned(json.dumps(FINE["chat"]).encode())
        config = yaml.safe_load(GATEWAY.replace("${MODEL_URL}", provider.url))
        if trusted:
            config["providers"]["openai"]["ca_file"] = "ca.pem"
        with up(folder, config=yaml.safe_dump(config)) as running:
            yield running


@pytest.mark.parametrize(
    ("name", "trusted", "days", "status"),
    [
        ("localhost", True, 1, 200),
        ("elsewhere.test", True, 1, 529),
        ("localhost", True, -1, 529),
        ("localhost", False, 1, 529),
    ],
    ids=["good", "wrong name", "expired", "unknown authority"],
)
def test_the_providers_certificate(tmp_path: Path, name: str, trusted: bool, days: int, status: int) -> None:
    for stack in gateway(tmp_path, name, trusted=trusted, days=days):
        answer = stack.call(prompt("hello"))
        assert answer.status_code == status, answer.text
        line = stack.record(answer)
        assert line["reason"] == (None if status == 200 else "UpstreamUnavailable")
