import json
from pathlib import Path
from typing import Any

import pytest
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from extproc import schema
from extproc.config import Fault
from extproc.policy import keys
from extproc.policy.keys import Keys
from tests.issuing import jwk, private
from tests.settings import GATEWAY, source

WHERE = ("authentication", "jwt", 0)


def load(folder: Path, jwks: Any) -> Keys | Fault:
    issuer = schema.Issuer(issuer="i", audiences=["a"], jwks=schema.Jwks(file=Path("jwks.json")))
    (folder / "jwks.json").write_text(jwks if isinstance(jwks, str) else json.dumps(jwks))
    return keys.load(source(folder, GATEWAY), issuer, WHERE)


def loaded(folder: Path, *entries: Any) -> Keys:
    found = load(folder, {"keys": list(entries)})
    assert isinstance(found, Keys), found.problem
    return found


@pytest.mark.parametrize("jwks", ["", "{", "null", "[]", "{}", '{"keys": {}}', '{"keys": []}', '{"keys": [1]}'])
def test_what_is_no_jwks(tmp_path: Path, jwks: str) -> None:
    fault = load(tmp_path, jwks)
    assert isinstance(fault, Fault)
    assert fault.where[:4] == (*WHERE, "jwks")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    issuer = schema.Issuer(issuer="i", audiences=["a"], jwks=schema.Jwks(file=Path("none.json")))
    fault = keys.load(source(tmp_path, GATEWAY), issuer, WHERE)
    assert isinstance(fault, Fault)
    assert (fault.where, fault.problem) == (
        (*WHERE, "jwks", "file"),
        "none.json cannot be read: No such file or directory",
    )


def private_jwk(family: str) -> dict[str, Any]:
    to_jwk: Any = {"RSA": RSAAlgorithm.to_jwk, "EC": ECAlgorithm.to_jwk}[family]
    made: dict[str, Any] = json.loads(to_jwk(private(family)))
    return made


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (lambda: private_jwk("RSA"), "keys.1: this is a private key"),
        (lambda: private_jwk("EC"), "keys.1: this is a private key"),
        (lambda: jwk("RSA", 1024), "keys.1: an RSA key of 1024 bits; at least 2048 are required"),
        (lambda: {"kty": "oct", "k": "c2VjcmV0"}, "keys.1: expected a public key of type RSA, EC, OKP"),
        (lambda: {"kty": ["RSA"]}, "keys.1: expected a public key"),
        (lambda: {"kty": "RSA", "n": "!", "e": "AQAB"}, "keys.1: not a usable key"),
        (lambda: {"kty": "EC", "crv": "P-256"}, "keys.1: not a usable key"),
        (lambda: jwk("EC", kid="other", crv="P-0"), "keys.1: not a usable key"),
        (lambda: jwk("RSA", kid={"a": 1}), "keys.1: kid and alg are strings"),
        (lambda: jwk("EC"), "keys.1: the kid 'EC-1' stands here twice"),
    ],
)
def test_unfit_keys_are_refused_by_their_number(tmp_path: Path, entry: Any, says: str) -> None:
    made = entry()
    fault = load(tmp_path, {"keys": [jwk("EC"), made]})
    assert isinstance(fault, Fault)
    assert fault.problem.startswith(says)
    secret = made.get("d") or made.get("k") or "no secret"
    assert secret not in fault.problem


def test_keys_for_encryption_are_left_out(tmp_path: Path) -> None:
    other = jwk("RSA", use="enc", alg="RSA-OAEP")
    assert loaded(tmp_path, other, jwk("EC")).find("EC-1", "ES256")
    assert isinstance(load(tmp_path, {"keys": [other]}), Fault)


@pytest.mark.parametrize(
    ("kid", "algorithm", "expected"),
    [
        ("RSA-1", "RS256", "RSA-1"),
        ("RSA-1", "PS512", "RSA-1"),
        ("EC-1", "ES256", "EC-1"),
        ("OKP-1", "EdDSA", "OKP-1"),
        # Another family's key never fits, and nothing fits HMAC or `none`.
        ("RSA-1", "ES256", None),
        ("EC-1", "RS256", None),
        ("RSA-1", "HS256", None),
        ("RSA-1", "none", None),
        ("nobody", "RS256", None),
        # Without an id the one key that fits.
        (None, "RS256", "RSA-1"),
        (None, "EdDSA", "OKP-1"),
        (None, "HS256", None),
    ],
)
def test_lookup(tmp_path: Path, kid: str | None, algorithm: str, expected: str | None) -> None:
    key = loaded(tmp_path, jwk("RSA"), jwk("EC"), jwk("OKP")).find(kid, algorithm)
    assert (key.id if key else None) == expected


def test_an_algorithm_in_the_key_is_the_only_one(tmp_path: Path) -> None:
    found = loaded(tmp_path, jwk("RSA", alg="RS512"))
    assert found.find("RSA-1", "RS512")
    assert not found.find("RSA-1", "RS256")


def test_without_an_id_two_that_fit_are_none(tmp_path: Path) -> None:
    found = loaded(tmp_path, jwk("RSA"), jwk("RSA", kid="RSA-2"))
    assert found.find(None, "RS256") is None
    assert found.find("RSA-2", "RS256")


def test_one_id_for_keys_of_two_families(tmp_path: Path) -> None:
    found = loaded(tmp_path, jwk("RSA", kid="k"), jwk("EC", kid="k"))
    assert found.find("k", "RS256") is not found.find("k", "ES256")
