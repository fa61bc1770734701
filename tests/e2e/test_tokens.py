"""A token proves who calls or it proves nothing: whatever is wrong with it, the client hears the same words, unless it
has expired."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from extproc.demo import idp
from tests.e2e import forge, wire
from tests.e2e.forge import claims, header
from tests.e2e.refusals import PROMPT, never_asked, refused, refused_chat
from tests.e2e.stack import Model, Stack, prompt

BODY = json.dumps(prompt(PROMPT)).encode()
Make = Callable[[Path, Path], str]
"""Of the folder with the lab's keys and of one with a stranger's."""


def paid(**changes: object) -> Make:
    """Good in all but these claims."""
    return lambda keys, other: forge.token(header(), claims(**changes), forge.rs256(keys))


def timed(**offsets: int) -> Make:
    """Good in all but these, in seconds from the call; clocks may differ by 30."""

    def make(keys: Path, other: Path) -> str:
        return paid(**{name: now(offset) for name, offset in offsets.items()})(keys, other)

    return make


def headed(**changes: object) -> Make:
    return lambda keys, other: forge.token(header(**changes), claims(), forge.rs256(keys))


def bare(alg: str) -> Make:
    return lambda keys, other: forge.token(header(alg=alg), claims(), forge.unsigned)


def hmac_of(secret: Callable[[Path], bytes], alg: str = "HS256") -> Make:
    return lambda keys, other: forge.token(header(alg=alg), claims(), forge.hs256(secret(keys)))


def cut(change: Callable[[str], str]) -> Make:
    return lambda keys, other: change(forge.token(header(), claims(), forge.rs256(keys)))


def half_signed(keys: Path, other: Path) -> str:
    return forge.token(header(), claims(), lambda data: forge.rs256(keys)(data)[:128])


def swapped(token: str) -> str:
    """The payload of another team under the old signature."""
    head, _, signature = token.split(".")
    other = forge.token(header(), claims(team="root"), forge.unsigned).split(".")[1]
    return f"{head}.{other}.{signature}"


def now(seconds: int) -> int:
    return int(time.time()) + seconds


def said(header: bytes | None = None, payload: bytes | None = None) -> Make:
    """Signed as it should be, with these bytes for JSON."""

    def make(keys: Path, other: Path) -> str:
        head = json.dumps(forge.header()).encode() if header is None else header
        return forge.raw(head, json.dumps(claims()).encode() if payload is None else payload, forge.rs256(keys))

    return make


def with_members(text: str) -> Make:
    """Good claims, with more members as JSON text."""
    return said(payload=f"{json.dumps(claims())[:-1]},{text}}}".encode())


def strangers(**changes: Any) -> Make:
    """Of a stranger's key, which the token itself shows or tells the way to."""
    return lambda keys, other: forge.token(header(**changes), claims(), forge.rs256(other))


def strangers_own(keys: Path, other: Path) -> str:
    return forge.token(header(jwk=forge.jwk(other)), claims(), forge.rs256(other))


def signed_with(scheme: Any, digest: Any) -> Make:
    return lambda keys, other: forge.token(header(), claims(), forge.rsa_with(keys, scheme, digest))


def anothers_signature(keys: Path, other: Path) -> str:
    return swapped(forge.token(header(), claims(sub="y"), forge.rs256(keys)))


def json_form(keys: Path, other: Path) -> str:
    """https://www.rfc-editor.org/rfc/rfc7515#section-7.2.2"""
    head, payload, signature = forge.token(header(), claims(), forge.rs256(keys)).split(".")
    return json.dumps({"protected": head, "payload": payload, "signature": signature})


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def stray_bits(token: str) -> str:
    """The same signature in another spelling: 256 bytes leave four bits of the last letter unused."""
    return token[:-1] + LETTERS[LETTERS.index(token[-1]) | 1]


def in_part(number: int, change: Callable[[str], str]) -> Make:
    def changed(token: str) -> str:
        parts = token.split(".")
        parts[number] = change(parts[number])
        return ".".join(parts)

    return cut(changed)


# fmt: off
BAD: dict[str, tuple[Make, str]] = {
    "HS256 with the public key": (hmac_of(forge.public_pem), "algorithm_not_allowed"),
    "HS256 with the JWKS": (hmac_of(lambda keys: (keys / idp.PUBLIC).read_bytes()), "algorithm_not_allowed"),
    "HMAC called RS256": (hmac_of(forge.public_pem, "RS256"), "bad_signature"),
    "RS512": (headed(alg="RS512"), "algorithm_not_allowed"),
    "none": (bare("none"), "algorithm_not_allowed"),
    "None": (bare("None"), "algorithm_not_allowed"),
    "NONE": (bare("NONE"), "algorithm_not_allowed"),
    "nOnE": (bare("nOnE"), "algorithm_not_allowed"),
    "unsigned RS256": (bare("RS256"), "bad_signature"),
    "no algorithm": (headed(alg=None), "algorithm_not_allowed"),
    "a list of algorithms": (headed(alg=["RS256"]), "algorithm_not_allowed"),
    "another key": (lambda keys, other: forge.token(header(), claims(), forge.rs256(other)), "bad_signature"),
    "changed afterwards": (cut(swapped), "bad_signature"),
    "unknown kid": (headed(kid="another-key"), "unknown_key"),
    "kid is a number": (headed(kid=7), "token_malformed"),
    "crit": (headed(crit=["exp"]), "critical_header_not_understood"),
    "crit that PyJWT knows": (headed(crit=["b64"], b64=True), "critical_header_not_understood"),
    "crit that is empty": (headed(crit=[]), "critical_header_not_understood"),
    "the payload as it is": (headed(crit=["b64"], b64=False), "critical_header_not_understood"),
    "wrong issuer": (paid(iss="https://evil.example"), "wrong_issuer"),
    "issuer is a list": (paid(iss=[idp.ISSUER]), "wrong_issuer"),
    "no issuer": (paid(iss=None), "wrong_issuer"),
    "wrong audience": (paid(aud="another-api"), "wrong_audience"),
    "audience with a prefix": (paid(aud=idp.AUDIENCE + "-2"), "wrong_audience"),
    "no audience": (paid(aud=None), "claim_missing"),
    "expired": (paid(exp=now(-3600)), "token_expired"),
    "no expiry": (paid(exp=None), "claim_missing"),
    "expiry is a word": (paid(exp="tomorrow"), "token_malformed"),
    "expiry beyond all time": (paid(exp=float("inf")), "token_malformed"),
    "expired, and for another audience": (paid(exp=now(-3600), aud="another-api"), "wrong_audience"),
    "expired, and of another key": (
        lambda keys, other: forge.token(header(), claims(exp=now(-3600)), forge.rs256(other)), "bad_signature"),
    "the subject of a static key": (paid(sub="key:nightly"), "reserved_subject"),
    "a logout token": (headed(typ="logout+jwt"), "wrong_token_type"),
    "a security event": (headed(typ="application/secevent+JWT"), "wrong_token_type"),
    "a proof of possession": (headed(typ="dpop+jwt"), "wrong_token_type"),
    "a type that is no string": (headed(typ=["JWT"]), "token_malformed"),
    "not yet": (paid(nbf=now(3600)), "token_not_yet_valid"),
    "issued in the future": (paid(iat=now(3600)), "token_not_yet_valid"),
    "claims are a list": (lambda keys, other: forge.token(header(), [], forge.rs256(keys)), "token_malformed"),
    "garbage": (lambda keys, other: "not-a-token", "token_malformed"),
    "a provider's key": (lambda keys, other: "sk-proj-0123456789abcdef", "token_malformed"),
    "two parts": (cut(lambda token: token.rpartition(".")[0]), "token_malformed"),
    "four parts": (cut(lambda token: token + ".e30"), "token_malformed"),
    "cut in the payload": (cut(lambda token: token[: len(token) // 3]), "token_malformed"),
    "half a signature": (half_signed, "bad_signature"),
    "20 KB": (paid(padding="x" * 20_000), "token_too_large"),
    "20 KB of header": (headed(padding="x" * 20_000), "token_too_large"),
    "HS384": (hmac_of(forge.public_pem, "HS384"), "algorithm_not_allowed"),
    "HS512": (hmac_of(forge.public_pem, "HS512"), "algorithm_not_allowed"),
    "HS256 with nothing": (hmac_of(lambda keys: b""), "algorithm_not_allowed"),
    "rs256": (headed(alg="rs256"), "algorithm_not_allowed"),
    "RS256 and a blank": (headed(alg="RS256 "), "algorithm_not_allowed"),
    "RS256 and a zero": (headed(alg="RS256\x00"), "algorithm_not_allowed"),
    "PS256": (headed(alg="PS256"), "algorithm_not_allowed"),
    "ES256 for an RSA key": (headed(alg="ES256"), "algorithm_not_allowed"),
    "an empty algorithm": (bare(""), "algorithm_not_allowed"),
    "a PSS signature called RS256": (
        signed_with(padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()), "bad_signature"),
    "a SHA-512 signature called RS256": (signed_with(padding.PKCS1v15(), hashes.SHA512()), "bad_signature"),
    "a SHA-1 signature called RS256": (signed_with(padding.PKCS1v15(), hashes.SHA1()), "bad_signature"),
    "a signature of zeroes": (lambda keys, other: forge.token(header(), claims(), lambda _: bytes(256)),
        "bad_signature"),
    "a signature that is too long": (
        lambda keys, other: forge.token(header(), claims(), lambda data: forge.rs256(keys)(data) + b"\0"),
        "bad_signature"),
    "another token's signature": (anothers_signature, "bad_signature"),
    "kid of a file": (headed(kid="../../../../../../dev/null"), "unknown_key"),
    "kid of a URL": (headed(kid="https://evil.example/key.pem"), "unknown_key"),
    "kid of a database": (headed(kid="x' UNION SELECT 'secret';--"), "unknown_key"),
    "kid of a shell": (headed(kid="key|/usr/bin/id"), "unknown_key"),
    "kid with a zero": (headed(kid=idp.KID + "\x00"), "unknown_key"),
    "kid in capitals": (headed(kid=idp.KID.upper()), "unknown_key"),
    "kid is empty": (headed(kid=""), "unknown_key"),
    "kid is a list": (headed(kid=[idp.KID]), "token_malformed"),
    "kid is an object": (headed(kid={"$ne": ""}), "token_malformed"),
    "its own key in the header": (strangers_own, "bad_signature"),
    "jku": (strangers(jku="https://evil.example/jwks.json"), "bad_signature"),
    "x5u": (strangers(x5u="https://evil.example/chain.pem"), "bad_signature"),
    "x5c": (strangers(x5c=["MIIB"]), "bad_signature"),
    "an algorithm twice": (said(header=b'{"alg":"none","alg":"RS256","kid":"claude-code-key"}'), "duplicate_member"),
    "a kid twice": (said(header=b'{"alg":"RS256","kid":"x","kid":"claude-code-key"}'), "duplicate_member"),
    "a team twice": (with_members('"team":"root"'), "duplicate_member"),
    "an issuer twice": (with_members('"iss":"claude-code-lab"'), "duplicate_member"),
    "a team twice, in disguise": (with_members('"te\\u0061m":"root"'), "duplicate_member"),
    "a member twice, deep down": (with_members('"a":[{"b":{"c":1,"c":2}}]'), "duplicate_member"),
    "padding": (in_part(1, lambda part: part + "="), "token_malformed"),
    "stray bits": (cut(stray_bits), "token_malformed"),
    "the other base64": (in_part(2, lambda part: part.replace("-", "+").replace("_", "/") + "+"), "token_malformed"),
    "a blank within": (in_part(1, lambda part: part[:9] + " " + part[9:]), "token_malformed"),
    "a blank in front": (in_part(0, lambda part: part[:9] + "%20" + part[9:]), "token_malformed"),
    "an empty header": (in_part(0, lambda part: ""), "token_malformed"),
    "an empty payload": (in_part(1, lambda part: ""), "token_malformed"),
    "an empty signature": (in_part(2, lambda part: ""), "bad_signature"),
    "dots only": (lambda keys, other: "..", "token_malformed"),
    "a header cut off": (in_part(0, lambda part: part[:-2]), "token_malformed"),
    "a header that is a list": (said(header=b"[]"), "token_malformed"),
    "a header in UTF-16": (said(header=json.dumps(header()).encode("utf-16")), "token_malformed"),
    "a mark in front of the header": (said(header=b"\xef\xbb\xbf" + json.dumps(header()).encode()), "token_malformed"),
    "an overlong slash": (said(payload=b'{"iss":"\xc0\xaf"}'), "token_malformed"),
    "half a character": (with_members('"a":"\\ud800"'), "token_malformed"),
    "no number": (with_members('"a":NaN'), "token_malformed"),
    "two documents": (said(payload=json.dumps(claims()).encode() + b"{}"), "token_malformed"),
    "a thousand levels": (with_members('"a":' + "[" * 5000 + "]" * 5000), "token_malformed"),
    "in JSON's own form": (json_form, "two_credentials"),
    "encrypted": (lambda keys, other: ".".join(["e30"] * 5), "token_encrypted"),
    "encrypted, as it says": (headed(enc="A256GCM"), "token_encrypted"),
    "a token within": (headed(cty="JWT"), "token_nested"),
    "a token within, in small letters": (headed(cty="jwt"), "token_nested"),
    "an issuer in other letters": (paid(iss=idp.ISSUER.upper()), "wrong_issuer"),
    "an issuer that looks like it": (paid(iss=idp.ISSUER.replace("a", "\u0430")), "wrong_issuer"),
    "an issuer with a slash": (paid(iss=idp.ISSUER + "/"), "wrong_issuer"),
    "an issuer with a blank": (paid(iss=idp.ISSUER + " "), "wrong_issuer"),
    "audience is a number": (paid(aud=7), "token_malformed"),
    "audience is an object": (paid(aud={idp.AUDIENCE: True}), "token_malformed"),
    "audiences within a list": (paid(aud=[[idp.AUDIENCE]]), "token_malformed"),
    "a number among the audiences": (paid(aud=[idp.AUDIENCE, 7]), "token_malformed"),
    "no audience of many": (paid(aud=[]), "wrong_audience"),
    "audience in other letters": (paid(aud=idp.AUDIENCE.upper()), "wrong_audience"),
    "expired a moment ago": (timed(exp=-31), "token_expired"),
    "expired at the beginning": (paid(exp=0), "token_expired"),
    "expired before all time": (paid(exp=-1), "token_expired"),
    "expiry is a number in quotes": (paid(exp=str(now(600))), "token_malformed"),
    "expiry is true": (paid(exp=True), "token_malformed"),
    "expiry is a list": (paid(exp=[now(600)]), "token_malformed"),
    "expiry is beyond all numbers": (with_members('"a":1e999'), "token_malformed"),
    "expiry of four hundred digits": (paid(exp=10**400), "token_malformed"),
    "not before a word": (paid(nbf="now"), "token_malformed"),
    "not before true": (paid(nbf=True), "token_malformed"),
    "not before a while": (timed(nbf=40), "token_not_yet_valid"),
    "issued a while ahead": (timed(iat=40), "token_not_yet_valid"),
    "issued at a word": (paid(iat="now"), "token_malformed"),
    "a static key that nobody has": (lambda keys, other: "extproc_" + "x" * 43, "unknown_api_key"),
}
# fmt: on


@pytest.fixture(scope="module")
def strangers_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strangers-keys")
    idp.ensure_keys(folder)
    return folder


def said_of(error: str) -> str:
    """A client may know that its token was good once, and nothing else."""
    return "credential expired" if error == "token_expired" else "invalid credential"


def unproven(stack: Stack, answer: httpx.Response, error: str) -> None:
    message, record = refused(stack, answer, 401, "authentication_error")
    assert message == said_of(error)
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert (record["reason"], record["error"], record["jwt.sub"]) == ("JwtAuth", error, None)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token(stack: Stack, model: Model, strangers_keys: Path, name: str) -> None:
    make, error = BAD[name]
    token = make(stack.folder / "keys", strangers_keys)
    with never_asked(model):
        answer = stack.call(BODY, token=None, headers={"authorization": f"Bearer {token}"})
        chat = stack.call(BODY, path="/v1/chat/completions", token=None, headers={"x-api-key": token})
    unproven(stack, answer, error)
    message, record = refused_chat(stack, chat, 401, "invalid_api_key")
    assert (message, record["reason"], record["error"]) == (said_of(error), "JwtAuth", error)
    # Dots alone are no secret, and stand in other words.
    assert not token.strip(".") or token not in stack.printed + answer.text + chat.text


BEARER, KEY = "authorization: Bearer {token}", "x-api-key: {token}"
CONFUSED: dict[str, tuple[list[str], str]] = {
    "two that differ": ([BEARER, "x-api-key: another"], "two_credentials"),
    "two that differ, the other way": (["authorization: Bearer another", KEY], "two_credentials"),
    "an empty key beside": ([BEARER, "x-api-key: "], "two_credentials"),
    "authorization twice": ([BEARER, BEARER], "two_credentials"),
    "authorization twice, one bad": (["authorization: Bearer another", BEARER], "two_credentials"),
    "x-api-key twice, one bad": ([KEY, "x-api-key: another"], "two_credentials"),
    "joined by a comma": (["authorization: Bearer {token},{token}"], "two_credentials"),
    "joined by a comma, with schemes": (["authorization: Bearer {token}, Bearer {token}"], "two_credentials"),
    "joined keys": (["x-api-key: {token},{token}"], "two_credentials"),
    "Basic": (["authorization: Basic {token}"], "not_a_bearer_token"),
    "Basic beside a good key": (["authorization: Basic eDp5", KEY], "not_a_bearer_token"),
    "no scheme": (["authorization: {token}"], "not_a_bearer_token"),
    "a tab": (["authorization: Bearer\t{token}"], "not_a_bearer_token"),
    "an empty bearer": (["authorization: Bearer"], "token_malformed"),
    "no ASCII": (["authorization: Bearer \u00e4"], "token_malformed"),
}


@pytest.mark.parametrize(("fields", "error"), CONFUSED.values(), ids=CONFUSED)
def test_no_telling_which_credential_is_meant(stack: Stack, model: Model, fields: list[str], error: str) -> None:
    with never_asked(model):
        answer = wire.send(stack.url, *(field.format(token=stack.good_token) for field in fields), body=BODY)
    unproven(stack, answer, error)


ELSEWHERE = ["cookie: token={token}", "cookie: authorization={token}", "proxy-authorization: Bearer {token}"]


@pytest.mark.parametrize(
    ("fields", "target"),
    [*(([field], "/v1/messages") for field in ELSEWHERE), ([], "/v1/messages?token={token}&api_key={token}")],
)
def test_a_token_in_another_place_is_none(stack: Stack, model: Model, fields: list[str], target: str) -> None:
    token = stack.good_token
    with never_asked(model):
        answer = wire.send(
            stack.url, *(field.format(token=token) for field in fields), target=target.format(token=token), body=BODY
        )
    message, record = refused(stack, answer, 401, "authentication_error")
    assert message == "missing credential" and answer.headers["www-authenticate"] == "Bearer"
    assert (record["reason"], record["error"]) == ("JwtAuth", "credential_missing")


GOOD_FIELDS = [[BEARER, KEY], [KEY, KEY], ["authorization: bearer {token}"], ["AUTHORIZATION: Bearer {token}"]]


@pytest.mark.parametrize("fields", GOOD_FIELDS)
def test_one_token_may_be_said_twice(stack: Stack, fields: list[str]) -> None:
    answer = wire.send(stack.url, *(field.format(token=stack.good_token) for field in fields), body=BODY)
    assert answer.status_code == 200 and stack.record(answer)["reason"] is None


def test_a_token_ends_while_it_is_in_use(stack: Stack, model: Model) -> None:
    """A verdict that is remembered ends with the token; clocks may differ by 30 s."""
    token = stack.token(ttl=-28)
    assert stack.call(BODY, token=token).status_code == 200
    deadline = time.monotonic() + 20
    while (answer := stack.call(BODY, token=token)).status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.02)
    unproven(stack, answer, "token_expired")
