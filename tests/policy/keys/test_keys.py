import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from extproc.config import schema
from extproc.config.faults import Fault
from extproc.policy.keys import keys
from extproc.policy.keys.keys import Fixed, Keys
from tests.issuing import jwk, private
from tests.settings import GATEWAY, source

WHERE = ("authentication", "jwt", 0)


def load(folder: Path, jwks: Any) -> Fixed | Fault:
    issuer = schema.Issuer(issuer="i", audiences=["a"], jwks=schema.Jwks(file=Path("jwks.json")))
    (folder / "jwks.json").write_text(jwks if isinstance(jwks, str) else json.dumps(jwks))
    return keys.load(source(folder, GATEWAY), issuer, WHERE)


def loaded(folder: Path, *entries: Any) -> Keys:
    found = load(folder, {"keys": list(entries)})
    assert isinstance(found, Fixed), found.problem
    current = found.current()
    assert current is not None
    return current


@pytest.mark.parametrize("jwks", ["", " \n", '{"keys": []}'])
def test_a_set_without_keys(tmp_path: Path, jwks: str) -> None:
    """Whoever empties a file takes its keys back."""
    found = load(tmp_path, jwks)
    assert isinstance(found, Fixed)
    current = found.current()
    assert current is not None and len(current) == 0


@pytest.mark.parametrize("jwks", ["{", "null", "[]", "{}", '{"keys": {}}', '{"keys": [1]}', '{"keys": [{}]}'])
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


def secp256k1() -> dict[str, Any]:
    key = ec.generate_private_key(ec.SECP256K1()).public_key()
    return {**json.loads(ECAlgorithm.to_jwk(key)), "kid": "k1"}


def private_jwk(family: str) -> dict[str, Any]:
    to_jwk: Any = {"RSA": RSAAlgorithm.to_jwk, "EC": ECAlgorithm.to_jwk}[family]
    made: dict[str, Any] = json.loads(to_jwk(private(family)))
    return made


def another(**members: Any) -> dict[str, Any]:
    """Another EC key than that of `jwk`."""
    return {**json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key())), **members}


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
        (lambda: another(kid="EC-1"), "keys.1: the kid 'EC-1' occurs twice"),
        (lambda: jwk("RSA", alg="ES256"), "keys.1: not a usable key"),
        (lambda: jwk("RSA", alg="RSA-OAEP"), "keys.1: not a usable key"),
        (lambda: jwk("OKP", crv="X25519"), "keys.1: not a usable key"),
        (secp256k1, "keys.1: a key of this type and curve is not used with any algorithm here"),
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
    assert len(loaded(tmp_path, other)) == 0


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


@pytest.mark.parametrize(
    ("curve", "algorithm"), [(ec.SECP256R1(), "ES256"), (ec.SECP384R1(), "ES384"), (ec.SECP521R1(), "ES512")]
)
def test_a_curve_has_one_algorithm(tmp_path: Path, curve: ec.EllipticCurve, algorithm: str) -> None:
    key = json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(curve).public_key()))
    found = loaded(tmp_path, key)
    assert [name for name in ("ES256", "ES384", "ES512", "RS256") if found.find(None, name)] == [algorithm]


def test_a_key_without_an_id_may_be_of_any(tmp_path: Path) -> None:
    nameless = {name: value for name, value in jwk("RSA").items() if name != "kid"}
    found = loaded(tmp_path, nameless, jwk("RSA", 3072, kid="RSA-2"))
    assert found.find("RSA-2", "RS256") is not found.find("whatever", "RS256")
    assert found.find("whatever", "RS256") and found.knows("whatever")
    assert found.find(None, "RS256") is None


@pytest.mark.parametrize("members", [{"key_ops": ["encrypt"]}, {"key_ops": "verify"}, {"use": "enc"}])
def test_what_is_not_for_signatures_is_left_out(tmp_path: Path, members: dict[str, Any]) -> None:
    assert len(loaded(tmp_path, jwk("RSA", **members), jwk("EC"))) == 1


def test_a_set_that_was_fetched_need_not_be_all_fit() -> None:
    """An issuer may have keys that we know nothing of; they prove nothing here."""
    found, problems = keys.parse({"keys": [{"kty": "oct"}, jwk("RSA", 1024), jwk("EC"), 7]})
    assert len(found) == 1 and found.find("EC-1", "ES256")
    assert [problem.partition(":")[0] for problem in problems] == ["keys.0", "keys.1", "keys.3"]


def test_a_key_is_known_again() -> None:
    key = keys.parse({"keys": [jwk("EC")]})[0].find("EC-1", "ES256")
    assert key is not None
    for entry, known in ((jwk("EC", use="sig"), True), (jwk("EC", kid="x"), False), (jwk("EC", alg="ES256"), True)):
        assert keys.parse({"keys": [entry]})[0].holds(key) is known


@pytest.mark.parametrize("more", [{}, {"alg": "ES256"}, {"use": "sig"}])
def test_the_same_key_twice_is_one(tmp_path: Path, more: dict[str, Any]) -> None:
    found = loaded(tmp_path, jwk("EC"), jwk("EC", **more))
    assert len(found) == 1 and found.find("EC-1", "ES256") and found.find(None, "ES256")


def test_a_key_with_an_entry_for_each_algorithm(tmp_path: Path) -> None:
    found = loaded(tmp_path, jwk("RSA", alg="RS256"), jwk("RSA", alg="PS256"))
    assert found.find("RSA-1", "RS256") and found.find("RSA-1", "PS256") and not found.find("RSA-1", "RS512")
