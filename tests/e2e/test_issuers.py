"""Several issuers side by side, keys for machines, and every place that a credential may stand in."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from extproc.policy.authentication import api_keys
from tests.e2e import forge, wire
from tests.e2e.providers import ANTHROPIC_KEY, Providers, headers_of, line_of
from tests.e2e.reloading import Reloads
from tests.e2e.stack import Stack, prompt, up

ONE, TWO, THREE, AUDIENCE = "https://one.test", "https://two.test", "https://three.test", "gateway"
COOKIE, HEADER = "llm_session", "x-company-token"
CONFIG = """
authentication:
  locations: [authorization, x-api-key, {header: x-company-token}, {cookie: llm_session}]
  api_keys: {file: api-keys.yaml}
  jwt:
    - issuer: https://one.test
      audiences: [gateway]
      algorithms: [ES256, EdDSA]
      jwks: {file: one.json}
      required_claims: [team]
      leeway: 0
    - {issuer: "https://two.test", audiences: [gateway], algorithms: [RS256, PS256], jwks: {file: two.json}}
    - {issuer: "https://three.test", audiences: [gateway], algorithms: [ES256], jwks: {inline: INLINE}}
authorization:
  require:
    - 'jwt.team == "data"'
    - '!request.headers.exists(name, name in ["authorization", "x-api-key", "x-company-token", "cookie"])'
providers:
  anthropic:
    dialects: [messages]
    base_url: "${ANTHROPIC_UPSTREAM_URL}"
    api_key: {env: ANTHROPIC_API_KEY}
  openai: {dialects: [chat], base_url: "${OPENAI_UPSTREAM_URL}", api_key: {env: OPENAI_API_KEY}}
models:
  - {name: "claude-*", provider: anthropic}
  - {name: "gpt-*", provider: openai}
routes:
  - {path: "*", serve: passthrough, provider: anthropic}
records: {claims: [team, id]}
"""
BODY = json.dumps(prompt("hello", model="claude-opus-5")).encode()


@dataclass
class Issuers:
    stack: Stack
    ec: Any
    ed: Any
    rsa: Any
    third: Any
    """Whose key has no `kid`."""
    key: str
    """A static one of team data."""
    others_key: str
    old_key: str

    def token(
        self, issuer: Any = ONE, alg: str = "ES256", key: Any = None, kid: str | None = "k", **claims: Any
    ) -> str:
        good = {"iss": issuer, "aud": AUDIENCE, "sub": "ann", "team": "data", "exp": int(time.time()) + 600}
        payload = {name: value for name, value in (good | claims).items() if value is not None}
        by_alg = {"ES256": self.ec, "EdDSA": self.ed, "RS256": self.rsa, "PS256": self.rsa}
        headers = {"kid": kid} if kid is not None else {}
        return jwt.api_jws.encode(json.dumps(payload).encode(), key or by_alg[alg], algorithm=alg, headers=headers)

    def signed(self, sign: forge.Sign) -> str:
        """An ES256 token of issuer one with this signature."""
        claims = {"iss": ONE, "aud": AUDIENCE, "team": "data", "exp": int(time.time()) + 600}
        return forge.token({"alg": "ES256", "kid": "k"}, claims, sign)


@pytest.fixture(scope="module")
def issuers(tmp_path_factory: pytest.TempPathFactory, providers: Providers) -> Iterator[Issuers]:
    folder = tmp_path_factory.mktemp("issuers")
    elliptic, edwards = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
    big = rsa.generate_private_key(65537, 2048)
    one = [ECAlgorithm.to_jwk(elliptic.public_key()), OKPAlgorithm.to_jwk(edwards.public_key())]
    two = [RSAAlgorithm.to_jwk(big.public_key())]
    for name, entries in (("one", one), ("two", two)):
        keys = [{**json.loads(entry), "kid": "k"} for entry in entries]
        (folder / f"{name}.json").write_text(json.dumps({"keys": keys}))
    made = [api_keys.new("nightly", {"team": "data"}), api_keys.new("web", {"team": "shop"})]
    made.append(api_keys.new("old", {"team": "data"}, "2020-01-01"))
    (folder / "api-keys.yaml").write_text("\n".join(line for _, line in made))
    third = ec.generate_private_key(ec.SECP256R1())
    config = CONFIG.replace("INLINE", json.dumps({"keys": [json.loads(ECAlgorithm.to_jwk(third.public_key()))]}))
    with up(folder, environ=providers.environ, config=config) as running:
        yield Issuers(running, elliptic, edwards, big, third, *(key for key, _ in made))


def call(issuers: Issuers, token: str) -> httpx.Response:
    return issuers.stack.call(BODY, token=None, headers={"x-api-key": token})


def test_two_issuers_with_the_same_kid(issuers: Issuers, providers: Providers) -> None:
    stack = issuers.stack
    for token, issuer in (
        (issuers.token(), ONE),
        (issuers.token(alg="EdDSA"), ONE),
        (issuers.token(kid=None), ONE),
        (issuers.token(TWO, "RS256"), TWO),
        (issuers.token(TWO, "PS256", kid=None), TWO),
        (issuers.token(THREE, key=issuers.third), THREE),
        (issuers.token(THREE, key=issuers.third, kid=None), THREE),
    ):
        answer = call(issuers, token)
        assert answer.status_code == 200, answer.text
        record = line_of(stack, answer)
        assert (record["jwt.iss"], record["jwt.sub"], record["reason"]) == (issuer, "ann", None)


def der(data: bytes, key: Any) -> bytes:
    signature: bytes = key.sign(data, ec.ECDSA(hashes.SHA256()))
    return signature


BAD: dict[str, tuple[Callable[[Issuers], str], str]] = {
    "the other issuer's key": (lambda i: i.token(ONE, "RS256"), "algorithm_not_allowed"),
    "the other issuer's name": (lambda i: i.token(TWO, "ES256"), "algorithm_not_allowed"),
    "the other issuer's key of the same kid": (lambda i: i.token(THREE), "bad_signature"),
    "a key without a kid, at another issuer": (lambda i: i.token(ONE, key=i.third), "bad_signature"),
    "a stranger's curve": (lambda i: i.token(key=ec.generate_private_key(ec.SECP256R1())), "bad_signature"),
    "a stranger's Edwards curve": (
        lambda i: i.token(alg="EdDSA", key=ed25519.Ed25519PrivateKey.generate()),
        "bad_signature",
    ),
    "ES256 in DER": (lambda i: i.signed(lambda data: der(data, i.ec)), "bad_signature"),
    "r and s are zero": (lambda i: i.signed(lambda _: bytes(64)), "bad_signature"),
    "r and s are one": (lambda i: i.signed(lambda _: (bytes(31) + b"\1") * 2), "bad_signature"),
    "r and s are the largest": (lambda i: i.signed(lambda _: b"\xff" * 64), "bad_signature"),
    "half of it": (lambda i: i.signed(lambda data: der(data, i.ec)[:32]), "bad_signature"),
    "an Edwards signature called ES256": (lambda i: i.signed(i.ed.sign), "bad_signature"),
    "nothing": (lambda i: i.signed(forge.unsigned), "bad_signature"),
    "no team": (lambda i: i.token(team=None), "claim_missing"),
    "expired this second": (lambda i: i.token(exp=int(time.time())), "token_expired"),
    "not before a few seconds": (lambda i: i.token(nbf=int(time.time()) + 3), "token_not_yet_valid"),
    "issuers in a list": (lambda i: i.token([ONE, TWO]), "wrong_issuer"),
    "a key that was made up": (lambda i: i.key[:-2] + "xx", "unknown_api_key"),
    "a key's digest": (lambda i: api_keys.PREFIX + "0" * 64, "unknown_api_key"),
    "a key that has ended": (lambda i: i.old_key, "api_key_expired"),
    "a key without its mark": (lambda i: i.key.removeprefix(api_keys.PREFIX), "token_malformed"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_proves_nothing(issuers: Issuers, providers: Providers, name: str) -> None:
    make, error = BAD[name]
    with providers.asking():
        answer = call(issuers, make(issuers))
    assert answer.status_code == 401 and answer.json()["error"]["type"] == "authentication_error"
    record = issuers.stack.record(answer)
    assert (record["reason"], record["error"], record["jwt.sub"]) == ("JwtAuth", error, None)


def test_a_machine_with_a_key(issuers: Issuers, providers: Providers) -> None:
    with providers.asking("anthropic") as asked:
        answer = call(issuers, issuers.key)
    assert answer.status_code == 200 and headers_of(asked[0])["x-api-key"] == ANTHROPIC_KEY
    record = issuers.stack.record_where(lambda line: line["jwt.sub"] == "key:nightly")
    assert (record["caller.team"], record["caller.id"]) == ("data", "nightly")
    with providers.asking():
        refused = call(issuers, issuers.others_key)
    assert refused.status_code == 403 and issuers.stack.record(refused)["jwt.sub"] == "key:web"
    assert issuers.key not in issuers.stack.printed and issuers.key not in str(asked)


def test_static_keys_come_and_go_with_their_file(tmp_path: Path, providers: Providers, issuers: Issuers) -> None:
    (tmp_path / "one.json").write_text((issuers.stack.folder / "one.json").read_text())
    (old, old_line), (new, new_line) = api_keys.new("old", {"team": "a"}), api_keys.new("new", {"team": "b"})
    path = tmp_path / "api-keys.yaml"
    path.write_text(old_line)
    config = MODES.format(mode="strict").replace("  jwt:", "  api_keys: {file: api-keys.yaml}\n  jwt:")
    with up(tmp_path, environ=providers.environ, config=config) as stack:
        reloads = Reloads(stack)
        for text, statuses in ((old_line, (200, 401)), (f"{old_line}\n{new_line}", (200, 200)), (new_line, (401, 200))):
            if path.read_text() != text:
                path.write_text(text)
                reloads.by_itself()
            for key, status in zip((old, new), statuses, strict=True):
                assert [stack.call(BODY, token=key).status_code for _ in range(4)] == [status] * 4
        path.write_text("- {id: broken}")
        reloads.by_itself(good=False)
        assert stack.call(BODY, token=new).status_code == 200
        stack.err.says("api-keys.yaml:1: 0.sha256: ")


PLACES = [
    "authorization: Bearer {token}",
    "x-api-key: {token}",
    f"{HEADER}: {{token}}",
    f"cookie: a=b; {COOKIE}={{token}}; c=d",
]


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/files"])
@pytest.mark.parametrize("field", PLACES)
def test_a_credential_may_stand_here_and_goes_no_further(
    issuers: Issuers, providers: Providers, field: str, path: str
) -> None:
    token = issuers.token(nonce=field + path)
    with providers.asking("anthropic") as asked:
        answer = wire.send(issuers.stack.url, field.format(token=token), target=path, body=BODY)
    assert answer.status_code == (200 if path == "/v1/messages" else 404), answer.text
    received = headers_of(asked[0])
    assert received["x-api-key"] == ANTHROPIC_KEY
    assert not {"authorization", "cookie", HEADER} & received.keys()
    assert token not in json.dumps(asked) + issuers.stack.printed


TWO_AT_ONCE = [
    (PLACES[0], f"{HEADER}: another"),
    (PLACES[1], f"cookie: {COOKIE}=another"),
    (PLACES[2], f"{HEADER}: another"),
    (PLACES[2], f"cookie: {COOKIE}=another"),
    (PLACES[3], f"cookie: {COOKIE}=another"),
    (f"cookie: {COOKIE}={{token}}; {COOKIE}=another",),
    (PLACES[3], "x-api-key: {key}"),
    (PLACES[0], "x-api-key: {key}"),
]


@pytest.mark.parametrize("fields", TWO_AT_ONCE)
def test_two_different_ones_at_once(issuers: Issuers, providers: Providers, fields: tuple[str, ...]) -> None:
    made = [field.format(token=issuers.token(), key=issuers.key) for field in fields]
    with providers.asking():
        answer = wire.send(issuers.stack.url, *made, body=BODY)
    record = issuers.stack.record(answer)
    assert (answer.status_code, record["reason"], record["error"]) == (401, "JwtAuth", "two_credentials")


MODES = """
authentication:
  mode: {mode}
  jwt:
    - {{issuer: "https://one.test", audiences: [gateway], algorithms: [ES256], jwks: {{file: one.json}}}}
providers:
  openai: {{dialects: [chat], base_url: "${{OPENAI_UPSTREAM_URL}}", api_key: {{env: OPENAI_API_KEY}}}}
models:
  - {{name: "claude-*", provider: openai, model: gpt-4o-mini}}
"""


@pytest.mark.parametrize(
    ("mode", "missing", "bad"), [("strict", 401, 401), ("optional", 200, 401), ("permissive", 200, 200)]
)
def test_modes(tmp_path: Path, providers: Providers, issuers: Issuers, mode: str, missing: int, bad: int) -> None:
    (tmp_path / "one.json").write_text((issuers.stack.folder / "one.json").read_text())
    with up(tmp_path, environ=providers.environ, config=MODES.format(mode=mode), arguments=["--workers", "1"]) as stack:
        assert stack.call(BODY, token=None).status_code == missing
        assert stack.call(BODY, token="rubbish").status_code == bad
        good = stack.call(BODY, token=issuers.token())
        assert good.status_code == 200 and stack.record(good)["jwt.sub"] == "ann"
