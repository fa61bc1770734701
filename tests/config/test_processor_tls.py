"""Certificates of a processor on TCP, and where none are needed."""

from pathlib import Path

import pytest

from extproc.config import processor_tls
from extproc.config.loading import Invalid
from extproc.supervisor import lines
from tests.certificates import Authority
from tests.settings import GATEWAY, faults, gateway, source

TLS = "processor: {tls: {certificate: server.pem, key: server.key, client_ca: ca.pem}}\n"
CLIENT = "processor: {client: {certificate: envoy.pem, key: envoy.key, ca_file: ca.pem}}\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path)
    made.issue("server", "processor")
    return made


def test_certificates_are_read_when_the_configuration_is(authority: Authority) -> None:
    made = gateway(authority.folder, GATEWAY + TLS)
    assert made.tls is not None and made.tls.client_ca == authority.pem
    assert authority.folder / "server.key" in made.source.files.looks
    assert "PRIVATE" not in repr(made.tls)


def test_there_need_not_be_any(tmp_path: Path) -> None:
    assert gateway(tmp_path).tls is None


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("server.pem", None, "processor.tls.certificate: this file cannot be read: No such file or directory"),
        ("server.key", None, "processor.tls.key: this file cannot be read: No such file or directory"),
        ("ca.pem", None, "processor.tls.client_ca: this file cannot be read: No such file or directory"),
        ("server.pem", b"nothing", f"processor.tls: {processor_tls.PAIR}"),
        ("server.key", b"nothing", f"processor.tls: {processor_tls.PAIR}"),
        ("ca.pem", b"nothing", "processor.tls: client_ca holds no certificate in PEM"),
    ],
)
def test_what_is_wrong_with_them(authority: Authority, name: str, content: bytes | None, expected: str) -> None:
    path = authority.folder / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    [found] = faults(authority.folder, GATEWAY + TLS)
    assert found.endswith(f": {expected}")


def test_a_key_that_belongs_to_another_certificate(authority: Authority) -> None:
    authority.issue("other")
    (authority.folder / "other.key").replace(authority.folder / "server.key")
    [found] = faults(authority.folder, GATEWAY + TLS)
    assert found.endswith(processor_tls.PAIR)


def test_a_key_in_the_place_of_its_files_name_is_not_quoted(authority: Authority) -> None:
    key = (authority.folder / "server.key").read_text().replace("\n", "\\n")
    found = faults(authority.folder, GATEWAY + TLS.replace("server.key", f'"{key}"'))
    assert found and "PRIVATE" not in "".join(found)


@pytest.mark.parametrize(
    "more", ["tls: {certificate: a, key: b, client_ca: c}", "client: {certificate: a, key: b, ca_file: c}"]
)
def test_plaintext_and_certificates_exclude_each_other(tmp_path: Path, more: str) -> None:
    [found] = faults(tmp_path, f"{GATEWAY}processor: {{insecure: true, {more}}}\n")
    assert "`insecure` is plaintext" in found


@pytest.mark.parametrize(
    ("address", "safe"),
    [
        ("unix:/run/extproc.sock", True),
        ("127.0.0.1:9000", True),
        ("127.8.0.1:9000", True),
        ("[::1]:9000", True),
        ("localhost:9000", True),
        ("0.0.0.0:9000", False),
        ("[::]:9000", False),
        ("10.0.0.1:9000", False),
        ("processor:9000", False),
        ("localhost.example.com:9000", False),
        ("127.0.0.1.example.com:9000", False),
    ],
)
def test_where_plaintext_may_be_spoken(tmp_path: Path, address: str, safe: bool) -> None:
    plain, allowed = source(tmp_path, GATEWAY), source(tmp_path, GATEWAY + "processor: {insecure: true}\n")
    for check in (processor_tls.check_server, processor_tls.check_client):
        check(allowed, [address])
        if safe:
            check(plain, [address])
        else:
            with pytest.raises(Invalid, match="can be reached by other machines"):
                check(plain, [address])
    assert processor_tls.in_plaintext(plain, [address]) == []
    assert ("PLAINTEXT" in lines.serve_banner(allowed, [address])) is not safe


def test_with_certificates_every_address_may_be_used(tmp_path: Path) -> None:
    processor_tls.check_server(source(tmp_path, GATEWAY + TLS), ["0.0.0.0:9000"])
    processor_tls.check_client(source(tmp_path, GATEWAY + CLIENT), ["processor:9000"])


@pytest.mark.parametrize("address", ["processor:9000", "127.0.0.1:9000"])
def test_an_envoy_needs_a_certificate_where_its_processor_wants_one(tmp_path: Path, address: str) -> None:
    with pytest.raises(Invalid, match=r"processor|client"):
        processor_tls.check_client(source(tmp_path, GATEWAY + TLS), [address])
    processor_tls.check_client(source(tmp_path, GATEWAY + TLS), ["unix:/a"])


def test_a_processor_needs_a_certificate_where_its_envoy_expects_one(tmp_path: Path) -> None:
    made = source(tmp_path, GATEWAY + CLIENT)
    processor_tls.check_both(made, ["unix:/a"])
    with pytest.raises(Invalid, match=r"processor\.tls: is needed"):
        processor_tls.check_both(made, ["127.0.0.1:9000"])
