import contextlib
import datetime as dt
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from extproc.demo import certificates
from extproc.demo.certificates import CA, CERTIFICATE, CLIENT_CA, KEY, ensure_certificates
from tests.settings import GATEWAY, gateway

HOSTS = ["processor", "127.0.0.1"]


def made(folder: Path) -> tuple[Path, Path]:
    return folder / "processor", folder / "envoy"


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_each_side_gets_what_it_needs(tmp_path: Path) -> None:
    processor, envoy = made(tmp_path)
    command = [sys.executable, "-m", "extproc.demo.certificates", str(processor), str(envoy), *HOSTS]
    subprocess.run(command, check=True)
    assert {path.name for path in processor.iterdir()} == {CERTIFICATE, KEY, CLIENT_CA}
    assert {path.name for path in envoy.iterdir()} == {CERTIFICATE, KEY, CA}
    assert {path.stat().st_mode & 0o777 for folder in (processor, envoy) for path in folder.iterdir()} == {0o600}
    authority = read(envoy / CA)
    assert authority == read(processor / CLIENT_CA)
    usages = {processor: ExtendedKeyUsageOID.SERVER_AUTH, envoy: ExtendedKeyUsageOID.CLIENT_AUTH}
    for folder, usage in usages.items():
        leaf = read(folder / CERTIFICATE)
        leaf.verify_directly_issued_by(authority)
        assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [usage]
    names = read(processor / CERTIFICATE).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["processor"]
    tls = {"certificate": CERTIFICATE, "key": KEY, "client_ca": CLIENT_CA}
    text = ", ".join(f"{key}: {processor / name}" for key, name in tls.items())
    assert gateway(tmp_path, f"{GATEWAY}processor: {{tls: {{{text}}}}}\n").tls is not None


def test_the_strictest_of_verifiers_takes_them(tmp_path: Path) -> None:
    """As Python is from 3.13 on, which wants more than Envoy and grpcio do."""
    processor, envoy = made(tmp_path)
    ensure_certificates(processor, envoy, HOSTS)
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.load_cert_chain(processor / CERTIFICATE, processor / KEY)
    server.load_verify_locations(processor / CLIENT_CA)
    server.verify_mode = ssl.CERT_REQUIRED
    client.load_cert_chain(envoy / CERTIFICATE, envoy / KEY)
    client.load_verify_locations(envoy / CA)
    for context in (server, client):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(theirs, ours, server_hostname="processor"), server.wrap_bio(ours, theirs, server_side=True)]
    for end in (*ends, *ends):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    assert all(end.getpeercert() for end in ends)


def test_they_stay(tmp_path: Path) -> None:
    assert ensure_certificates(*made(tmp_path), HOSTS)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.pem")}
    assert not ensure_certificates(*made(tmp_path), HOSTS)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.pem")}


@pytest.mark.parametrize("days", [29, 0])
def test_until_a_month_before_they_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    monkeypatch.setattr(certificates, "VALID", dt.timedelta(days=days))
    ensure_certificates(*made(tmp_path), HOSTS)
    before = read(tmp_path / "envoy" / CERTIFICATE)
    assert ensure_certificates(*made(tmp_path), HOSTS)
    assert read(tmp_path / "envoy" / CERTIFICATE) != before


def test_all_are_made_anew_where_one_is_missing(tmp_path: Path) -> None:
    """They belong together: nobody has their authority's key any more."""
    processor, envoy = made(tmp_path)
    ensure_certificates(processor, envoy, HOSTS)
    (envoy / CERTIFICATE).unlink()
    assert ensure_certificates(processor, envoy, HOSTS)
    assert read(envoy / CA) == read(processor / CLIENT_CA)
