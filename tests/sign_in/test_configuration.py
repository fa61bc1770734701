import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.settings import AUTHENTICATION, GATEWAY, MODELS, PROVIDERS, faults, gateway

URL, ISSUER = "https://llm.corp.example", "https://idp.corp.example"
EXCHANGE: dict[str, Any] = {"issuer": ISSUER, "audiences": ["a"], "when": "true"}
GOOD: dict[str, Any] = {"public_url": URL, "issuer": ISSUER, "client_id": "gateway"}


def section(name: str, value: Any) -> str:
    return f"{GATEWAY}\n{name}: {json.dumps(value)}\n"


def sign_in(**changes: Any) -> str:
    return section("sign_in", {name: value for name, value in (GOOD | changes).items() if value is not None})


def faults_of(folder: Path, text: str) -> list[str]:
    """Without the line."""
    return [line.partition(": ")[2] for line in faults(folder, text)]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"public_url": None}, "sign_in.public_url: this key is required"),
    ({"public_url": "http://llm.corp.example"}, "sign_in.public_url: expected an HTTPS URL; plain HTTP is for"),
    ({"public_url": "https://llm.corp.example/x"}, "sign_in.public_url: expected a URL without a path"),
    ({"public_url": "https://llm.corp.example?a=1"}, "sign_in.public_url: expected a URL without a query"),
    ({"issuer": None}, "sign_in.issuer: this key is required"),
    ({"issuer": "http://idp.corp.example"}, "sign_in.issuer: expected an HTTPS URL"),
    ({"issuer": URL}, "sign_in.issuer: is this gateway itself"),
    ({"client_id": ""}, "sign_in.client_id: String should have at least 1 character"),
    ({"client_secret": "s3cret"}, "sign_in.client_secret: a secret is {env: NAME} or {file: PATH}"),
    ({"client_secret": {"env": "NOT_SET"}}, "sign_in.client_secret: the environment variable NOT_SET"),
    ({"client_secret": {"file": "none.txt"}}, "sign_in.client_secret: the file none.txt cannot be read"),
    ({"ca_file": "none.pem"}, "sign_in.ca_file: none.pem cannot be read"),
    ({"ca_file": "gateway.yaml"}, "sign_in.ca_file: gateway.yaml holds no certificates"),
    ({"scopes": ["email"]}, "sign_in.scopes: `openid` must be among them"),
    ({"allow": "jwt.groups =="}, "sign_in.allow.0: not a valid CEL expression"),
    ({"allow": ["'a'"]}, "sign_in.allow.0: the expression gives STRING, expected bool"),
    ({"allow": ['model == "x"']}, "sign_in.allow.0: only `jwt`"),
    ({"allow": ['caller.id == "x"']}, "sign_in.allow.0: only `jwt`"),
    ({"claims": ["sub", "exp"]}, "sign_in.claims: the gateway sets exp itself"),
    ({"token_ttl": 300}, "sign_in.token_ttl: Input should be greater than or equal to 600"),
    ({"signing_key": {"file": "gateway.yaml"}}, "sign_in.signing_key: expected a private key of the curve P-256"),
    ({"signing_key": {"file": "none.pem"}}, "sign_in.signing_key: the file cannot be read"),
    ({"signing_key": {"file": "p384.pem"}}, "sign_in.signing_key: expected a private key of the curve P-256"),
    ({"sealing_key": {"file": "gateway.yaml"}}, "sign_in.sealing_key: expected 32 random bytes in base64"),
    ({"notice": "x" * 501}, "sign_in.notice: String should have at most 500 characters"),
    ({"clientid": "x"}, "sign_in.clientid: unknown key; did you mean 'client_id'?"),
    ({"exchange": [EXCHANGE | {"audiences": []}]}, "sign_in.exchange.0.audiences: List should have at least 1 item"),
    ({"exchange": [{"issuer": ISSUER, "when": "true"}]}, "sign_in.exchange.0.audiences: this key is required"),
    ({"exchange": [{"issuer": ISSUER, "audiences": ["a"]}]}, "sign_in.exchange.0.when: this key is required"),
    ({"exchange": [EXCHANGE | {"issuer": URL}]}, "sign_in.exchange.0.issuer: is this gateway itself"),
    ({"exchange": [EXCHANGE | {"when": "jwt.x +"}]}, "sign_in.exchange.0.when: not a valid CEL"),
    ({"exchange": [EXCHANGE | {"claims": {"sub": "x"}}]}, "sign_in.exchange.0.claims: the gateway"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), BAD, ids=[expected for _, expected in BAD])
def test_a_mistake_in_the_section(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    private = ec.generate_private_key(ec.SECP384R1())
    (tmp_path / "p384.pem").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    found = faults_of(tmp_path, sign_in(**changes))
    assert len({line.partition(":")[0] for line in found}) == 1, found
    assert any(line.startswith(expected) for line in found), found


STORES: list[tuple[str, Any, str]] = [
    ("store", {"folder": "a", "redis": {"url": "redis://h"}}, "store: what is kept is kept either"),
    ("store", {"redis": {"url": "http://h"}}, "store.redis.url: expected redis://HOST:PORT/NUMBER"),
    ("store", {"redis": {"url": "redis://:secret@h"}}, "store.redis.url: expected redis://HOST:PORT/NUMBER"),
    ("store", {"redis": {"url": "redis://h/x"}}, "store.redis.url: expected redis://HOST:PORT/NUMBER"),
    ("store", {"redis": {"url": "redis://h", "ca_file": "x"}}, "store.redis: ca_file is for rediss://"),
    ("store", {"redis": {"url": "rediss://h", "ca_file": "x"}}, "store.redis.ca_file: x is no file"),
    ("store", {"redis": {"url": "redis://a,b"}}, "store.redis.url: expected redis://HOST:PORT/NUMBER"),
    ("store", {"redis": {"url": "redis+sentinel://a,b"}}, "store.redis.url: expected redis://HOST:PORT/NUMBER"),
    ("store", {"redis": {"url": "redis+sentinel://a,:5/name"}}, "store.redis.url: expected redis://HOST:PORT/NUMBER"),
    ("store", {"redis": {"url": "redis+cluster://a,b/1"}}, "store.redis.url: expected redis://HOST:PORT/NUMBER"),
    (
        "store",
        {"redis": {"url": "redis+cluster://a", "prefix": "{a}"}},
        "store.redis: expected a prefix without braces",
    ),
    (
        "store",
        {"redis": {"url": "redis://a", "sentinel": {"password": {"env": "NONE"}}}},
        "store.redis: sentinel is for redis+sentinel://",
    ),
    (
        "store",
        {"redis": {"url": "redis+sentinel://a/name", "sentinel": {"password": {"env": "NONE"}}}},
        "store.redis.sentinel.password: the environment",
    ),
    ("store", {"redis": {"url": "redis://h", "password": {"env": "NONE"}}}, "store.redis.password: the environment"),
    ("store", {"when_down": "ajar"}, "store.when_down: Input should be 'closed' or 'open'"),
    ("web", {"address": "web.sock"}, "web.address: expected unix:/PATH or HOST:PORT"),
    ("web", {"address": "localhost:0"}, "web.address: expected unix:/PATH or HOST:PORT"),
    ("managed_settings", [{"when": "true"}], "managed_settings.0.settings: this key is required"),
]


@pytest.mark.parametrize(("name", "value", "expected"), STORES, ids=[expected for _, _, expected in STORES])
def test_a_mistake_beside_it(tmp_path: Path, name: str, value: Any, expected: str) -> None:
    found = faults_of(tmp_path, section(name, value))
    assert len(found) == 1 and found[0].startswith(expected), found
    assert "secret" not in found[0]


def test_a_mistake_is_at_its_line(tmp_path: Path) -> None:
    text = GATEWAY + f"\nsign_in:\n  public_url: {URL}\n  issuer: {ISSUER}\n  client_id: x\n  token_ttl: 10\n"
    [fault] = faults(tmp_path, text)
    assert fault.startswith(f"{text[: text.index('token_ttl')].count(chr(10)) + 1}: sign_in.token_ttl: ")


def test_our_own_issuer_needs_no_row(tmp_path: Path) -> None:
    rows = AUTHENTICATION.replace('"lab"', json.dumps(URL))
    text = f"{rows}\n{PROVIDERS}\n{MODELS}\nsign_in: {json.dumps(GOOD)}\n"
    assert any("which `sign_in` trusts without a row here" in line for line in faults(tmp_path, text))
    assert faults(tmp_path, f"authentication: {{}}\n{PROVIDERS}\n{MODELS}\nsign_in: {json.dumps(GOOD)}\n") == []


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("https://LLM.Corp.Example/", "https://llm.corp.example"),
        ("https://llm.corp.example:443", "https://llm.corp.example"),
        ("HTTPS://llm.corp.example:8443", "https://llm.corp.example:8443"),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_our_url_is_kept_as_browsers_write_it(tmp_path: Path, written: str, origin: str) -> None:
    made = gateway(tmp_path, sign_in(public_url=written)).sign_in
    assert made is not None and made.settings.public_url == origin


def test_a_whole_section(tmp_path: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    (tmp_path / "signing.pem").write_bytes(pem)
    (tmp_path / "sealing").write_bytes(base64.b64encode(bytes(range(32))) + b"\n")
    keys = {"signing_key": {"file": "signing.pem"}, "sealing_key": {"file": "sealing"}}
    row = {"issuer": ISSUER, "audiences": ["a"], "when": 'jwt.repository == "corp/app"', "claims": {"team": "ci"}}
    made = gateway(tmp_path, sign_in(**keys, allow='"developers" in jwt.groups', exchange=[row])).sign_in
    assert made is not None
    assert made.signing_key == pem and made.sealing_key == bytes(range(32))
    assert made.allows({"groups": ["developers"]})
    assert not made.allows({"groups": ["visitors"]}) and not made.allows({})
    for secret in (pem.decode(), str(made.sealing_key)):
        assert secret not in repr(made)
