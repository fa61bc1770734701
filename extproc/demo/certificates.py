"""The lab's certificates between Envoy and a processor on TCP, for a laptop.

`python -m extproc.demo.certificates PROCESSOR ENVOY HOST...`: the folders of the two, and where the processor is found.
Their authority signs these two certificates and no more: its key is never written.
"""

import datetime as dt
import os
import sys
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

CERTIFICATE, KEY, CLIENT_CA, CA = "certificate.pem", "key.pem", "client_ca.pem", "ca.pem"
VALID, RENEWED_BEFORE = dt.timedelta(days=365), dt.timedelta(days=30)


def ensure_certificates(processor: Path, envoy: Path, hosts: list[str]) -> bool:
    """Makes all of them where one is missing or ends within a month, and says whether it did. `hosts`: names and
    addresses at which Envoy finds the processor."""
    if _are_good(processor, envoy):
        return False
    authority = ec.generate_private_key(ec.SECP256R1())
    issuer = _name("extproc lab")
    ca = _builder(issuer, issuer, authority, authority).add_extension(x509.BasicConstraints(True, 0), critical=True)
    root = _pem(ca.add_extension(_usage(signs=True), critical=True).sign(authority, hashes.SHA256()))
    for folder, usage, trusted in (
        (processor, ExtendedKeyUsageOID.SERVER_AUTH, CLIENT_CA),
        (envoy, ExtendedKeyUsageOID.CLIENT_AUTH, CA),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        made = _leaf(_builder(_name(folder.name), issuer, key, authority), usage, hosts)
        signed = made.sign(authority, hashes.SHA256())
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(folder / KEY, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        _write(folder / trusted, root)
        _write(folder / CERTIFICATE, _pem(signed))
    return True


def _are_good(*folders: Path) -> bool:
    """Returns whether the files are there and valid for a month."""
    try:
        ends = [x509.load_pem_x509_certificate((folder / CERTIFICATE).read_bytes()) for folder in folders]
    except (OSError, ValueError):
        return False
    return all(one.not_valid_after_utc - dt.datetime.now(dt.UTC) > RENEWED_BEFORE for one in ends)


def _leaf(made: x509.CertificateBuilder, usage: ObjectIdentifier, hosts: list[str]) -> x509.CertificateBuilder:
    if usage == ExtendedKeyUsageOID.SERVER_AUTH:
        made = made.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
    made = made.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    made = made.add_extension(_usage(signs=False), critical=True)
    return made.add_extension(x509.BasicConstraints(False, None), critical=True)


def _usage(*, signs: bool) -> x509.KeyUsage:
    """`signs`: the key signs certificates; else it takes part in handshakes."""
    names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only")
    others = dict.fromkeys((*names, "decipher_only"), False)
    return x509.KeyUsage(digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, **others)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, authority: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    begin, end = now - dt.timedelta(minutes=5), now + VALID
    made = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number(), begin, end)
    made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    return made.add_extension(by, critical=False)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _write(path: Path, content: bytes) -> None:
    """Writes the whole file at once, readable by its owner only."""
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    partial.replace(path)


if __name__ == "__main__":
    ensure_certificates(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
