"""The form of a token; what its claims must say is seen in test_authenticate."""

import base64
import contextlib
import json
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from extproc.config.schema import Issuer, Jwks
from extproc.policy.authentication import tokens
from extproc.policy.authentication.credential import Unproven
from extproc.policy.keys.keys import parse
from tests.issuing import jwk, private, token


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


GOOD = part(b'{"a":1}')


def stray(text: str) -> str:
    """The same bytes in another spelling: bits at the end that no decoder looks at."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + letters[letters.index(text[-1]) + 1]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "token_malformed"),
        (f"{GOOD}.{GOOD}", "token_malformed"),
        (f"{GOOD}.{GOOD}.x.y", "token_malformed"),
        (f"{GOOD}.{GOOD}.x.y.z", "token_encrypted"),
        (f"{stray(GOOD)}.{GOOD}.", "token_malformed"),
        (f"{GOOD}.{stray(GOOD)}.", "token_malformed"),
        (f"{GOOD}.{GOOD}.AB", "token_malformed"),
        (f"{GOOD}.{GOOD}.A", "token_malformed"),
        (f"{GOOD}.{GOOD}==.", "token_malformed"),
        (f"{GOOD}.{GOOD}\n.", "token_malformed"),
        (f"{GOOD} .{GOOD}.", "token_malformed"),
        (f"{GOOD}.{GOOD}.+/", "token_malformed"),
    ],
)
def test_what_is_no_token(text: str, problem: str) -> None:
    with pytest.raises(Unproven, match=f"^{problem}$"):
        tokens.parse(text)


@pytest.mark.parametrize(
    ("header", "payload", "problem"),
    [
        (b"{}", b"[]", "token_malformed"),
        (b"null", b"{}", "token_malformed"),
        (b"", b"{}", "token_malformed"),
        (b"{", b"{}", "token_malformed"),
        (b"{}{}", b"{}", "token_malformed"),
        (b"{}", b'{"\xff":1}', "token_malformed"),
        (b"{}", b"\xef\xbb\xbf{}", "token_malformed"),
        (b"{}", "{}".encode("utf-16"), "token_malformed"),
        (b"{}", rb'{"a":"\ud800"}', "token_malformed"),
        (b"{}", b'{"a":NaN}', "token_malformed"),
        (b"{}", b'{"a":1e999}', "token_malformed"),
        (b"{}", b'{"a":' * 5000, "token_malformed"),
        (b'{"alg":1,"alg":2}', b"{}", "duplicate_member"),
        (b"{}", b'{"a":[{"b":1,"b":1}]}', "duplicate_member"),
        (b"{}", rb'{"a":1,"\u0061":1}', "duplicate_member"),
        (b'{"enc":"A128GCM"}', b"{}", "token_encrypted"),
        (b'{"cty":"JWT"}', b"{}", "token_nested"),
        (b'{"cty":"jwt"}', b"{}", "token_nested"),
    ],
)
def test_what_a_token_cannot_say(header: bytes, payload: bytes, problem: str) -> None:
    with pytest.raises(Unproven, match=f"^{problem}$"):
        tokens.claims(tokens.parse(f"{part(header)}.{part(payload)}."))


def test_claims_are_not_decoded_with_the_token() -> None:
    """Whose signature is still to be verified: only what `iss` holds is decoded."""
    payload = rb'{"a":[1e999],"iss":"lab","b":{"c":1,"c":2}}'
    made = tokens.parse(f"{GOOD}.{part(payload)}.")
    assert made.issuer == "lab"
    with pytest.raises(Unproven, match="token_malformed"):
        tokens.claims(made)


@pytest.mark.parametrize("issuer", [b"null", b"7", b"{}", b'["lab"]', b"[" + b"9e307," * 9 + b"1]"])
def test_an_issuer_that_is_no_string_is_nobody(issuer: bytes) -> None:
    payload = part(b'{"iss":%b}' % issuer)
    assert tokens.parse(f"{GOOD}.{payload}.").issuer == ""


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"{}", ""),
        (b'{"typ":"JWT"}', "jwt"),
        (b'{"typ":"application/AT+jwt"}', "at+jwt"),
        (b'{"typ":"logout+jwt"}', "logout+jwt"),
    ],
)
def test_the_type_of_a_token(header: bytes, expected: str) -> None:
    assert tokens.parse(f"{part(header)}.{GOOD}.").type == expected


def test_a_token_taken_apart() -> None:
    text = token({"iss": "lab"})
    made = tokens.parse(text)
    assert (made.algorithm, made.key_id, made.type, made.issuer) == ("ES256", "EC-1", "jwt", "lab")
    assert tokens.claims(made) == {"iss": "lab"}
    assert f"{made.signed.decode()}.{part(made.signature)}" == text


def signed(data: bytes, signature: bytes) -> tokens.Token:
    return msgspec.structs.replace(tokens.parse(f"{GOOD}.{GOOD}."), signed=data, signature=signature)


@pytest.mark.parametrize(
    ("family", "algorithm"), [("RSA", "RS256"), ("RSA", "PS384"), ("EC", "ES256"), ("OKP", "EdDSA")]
)
def test_a_signature(family: str, algorithm: str) -> None:
    key = parse({"keys": [jwk(family)]})[0].find(None, algorithm)
    assert key is not None
    made = tokens.parse(token(family=family, alg=algorithm))
    assert tokens.is_proven(made, key, algorithm)
    other = tokens.parse(token({"sub": "root"}, family=family, alg=algorithm))
    for signature in (b"", made.signature[:-1], made.signature + b"\0", bytes(len(made.signature)), other.signature):
        assert not tokens.is_proven(signed(made.signed, signature), key, algorithm)


@pytest.mark.parametrize(("r", "s"), [(0, 0), (0, 1), (1, 0), (2**256 - 1, 2**256 - 1)])
def test_numbers_that_are_no_signature(r: int, s: int) -> None:
    """https://nvd.nist.gov/vuln/detail/CVE-2022-21449"""
    key = parse({"keys": [jwk()]})[0].find(None, "ES256")
    assert key is not None
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert not tokens.is_proven(signed(b"a.b", signature), key, "ES256")


def test_a_signature_of_another_form() -> None:
    key = parse({"keys": [jwk()]})[0].find(None, "ES256")
    assert key is not None
    der = private().sign(b"a.b", ec.ECDSA(hashes.SHA256()))
    assert not tokens.is_proven(signed(b"a.b", der), key, "ES256")
    assert not tokens.is_proven(signed(b"a.b", ed25519.Ed25519PrivateKey.generate().sign(b"a.b")), key, "ES256")


def test_what_a_key_of_another_kind_says_proves_nothing() -> None:
    key = parse({"keys": [jwk("RSA")]})[0].find(None, "RS256")
    assert key is not None
    for algorithm in ("HS256", "none", "ES256", "unheard-of"):
        assert not tokens.is_proven(tokens.parse(token(family="RSA", alg="RS256")), key, algorithm)


def test_every_duplicate_is_found_wherever_it_stands() -> None:
    nested = json.dumps({"a": {"b": [{"c": 1}]}}).replace('"c": 1', '"c": 1, "c": 2').encode()
    with pytest.raises(Unproven, match="duplicate_member"):
        tokens.claims(tokens.parse(f"{GOOD}.{part(nested)}."))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)


@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*", fullmatch=True))
def test_whatever_it_is_it_is_a_token_or_none(text: str) -> None:
    with contextlib.suppress(Unproven):
        made = tokens.parse(text)
        assert made.signed.decode() + "." == text[: text.rindex(".") + 1]
        assert isinstance(tokens.claims(made), dict)


@given(st.dictionaries(st.sampled_from(["exp", "nbf", "iat", "aud", "sub"]), JSON))
def test_whatever_claims_say_they_are_good_or_not(claims: dict[str, Any]) -> None:
    issuer = Issuer(issuer="i", audiences=["a"], jwks=Jwks(inline={}), required_claims=["sub"])
    wrong = tokens.wrong_claim(claims, issuer, 1e9)
    assert wrong is not None or (claims["exp"] > 1e9 - 30 and "a" in claims["aud"] and claims["sub"] is not None)
