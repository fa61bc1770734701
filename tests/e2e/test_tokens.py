"""A token proves who calls or it proves nothing: whatever is wrong with it, the client hears the same words."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from extproc.demo import idp
from tests.e2e import forge, wire
from tests.e2e.forge import claims, header
from tests.e2e.refusals import PROMPT, never_asked, refused
from tests.e2e.stack import Model, Stack, prompt

BODY = json.dumps(prompt(PROMPT)).encode()
Make = Callable[[Path, Path], str]
"""Of the folder with the lab's keys and of one with a stranger's."""


def paid(**changes: object) -> Make:
    """Good in all but these claims."""
    return lambda keys, other: forge.token(header(), claims(**changes), forge.rs256(keys))


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
    "crit": (headed(crit=["exp"]), "token_malformed"),
    "crit that PyJWT knows": (headed(crit=["b64"], b64=True), "critical_header_not_understood"),
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
    "not yet": (paid(nbf=now(3600)), "token_not_yet_valid"),
    "issued in the future": (paid(iat=now(3600)), "token_not_yet_valid"),
    "claims are a list": (lambda keys, other: forge.token(header(), [], forge.rs256(keys)), "token_malformed"),
    "garbage": (lambda keys, other: "not-a-token", "token_malformed"),
    "a provider's key": (lambda keys, other: "sk-proj-0123456789abcdef", "token_malformed"),
    "two parts": (cut(lambda token: token.rpartition(".")[0]), "token_malformed"),
    "four parts": (cut(lambda token: token + ".e30"), "token_malformed"),
    "cut in the payload": (cut(lambda token: token[: len(token) // 3]), "token_malformed"),
    "half a signature": (half_signed, "bad_signature"),
    "20 KB": (paid(padding="x" * 20_000), "token_malformed"),
}


@pytest.fixture(scope="module")
def strangers_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strangers-keys")
    idp.ensure_keys(folder)
    return folder


def unproven(stack: Stack, answer: httpx.Response, error: str) -> None:
    message, record = refused(stack, answer, 401, "authentication_error")
    assert message == "invalid credential"
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert (record["reason"], record["error"], record["jwt.sub"]) == ("JwtAuth", error, None)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token(stack: Stack, model: Model, strangers_keys: Path, name: str) -> None:
    make, error = BAD[name]
    token = make(stack.folder / "keys", strangers_keys)
    with never_asked(model):
        answers = [
            stack.call(BODY, token=None, headers={"authorization": f"Bearer {token}"}),
            stack.call(BODY, token=None, headers={"x-api-key": token}),
        ]
    for answer in answers:
        unproven(stack, answer, error)
        assert not token or token not in stack.printed + answer.text


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
        pass
    unproven(stack, answer, "token_expired")
