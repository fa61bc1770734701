import base64
import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import jwt
import pytest

from extproc.demo import idp


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lab") / "a" / "keys"
    idp.ensure_keys(folder)
    return folder


def verified(keys: Path, token: str, *, verify_exp: bool = True) -> dict[str, Any]:
    key = jwt.PyJWKSet.from_json((keys / "jwks.json").read_text())[idp.KID]
    claims: dict[str, Any] = jwt.decode(
        token,
        key,
        algorithms=["RS256"],
        audience="anthropic-api",
        issuer="claude-code-lab",
        options={"verify_exp": verify_exp},
    )
    return claims


def test_files(keys: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in keys.iterdir()}
    assert modes == {"private.pem": 0o600, "jwks.json": 0o644}
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700


def test_the_jwks_is_public_only(keys: Path) -> None:
    [key] = json.loads((keys / "jwks.json").read_text())["keys"]
    assert set(key) == {"kty", "n", "e", "alg", "use", "kid"}
    assert (key["kty"], key["alg"], key["use"], key["kid"]) == ("RSA", "RS256", "sig", "claude-code-key")
    assert len(base64.urlsafe_b64decode(key["n"] + "==")) == 256


def test_a_second_start_changes_nothing(keys: Path) -> None:
    before = {path.name: path.read_bytes() for path in keys.iterdir()}
    idp.ensure_keys(keys)
    assert {path.name: path.read_bytes() for path in keys.iterdir()} == before


def test_a_lost_jwks_comes_back(tmp_path: Path) -> None:
    idp.ensure_keys(tmp_path)
    before = (tmp_path / "jwks.json").read_bytes()
    (tmp_path / "jwks.json").unlink()
    idp.ensure_keys(tmp_path)
    assert (tmp_path / "jwks.json").read_bytes() == before


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    code = f"from pathlib import Path; from extproc.demo import idp; idp.ensure_keys(Path({str(folder)!r}))"
    starters = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [starter.wait(timeout=30) for starter in starters] == [0] * 4
    assert sorted(path.name for path in folder.iterdir()) == ["jwks.json", "private.pem"]
    assert verified(folder, idp.mint(folder))


def test_a_token(keys: Path) -> None:
    token = idp.mint(keys, now=1_000)
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "kid": "claude-code-key", "typ": "JWT"}
    assert verified(keys, token, verify_exp=False) == {
        "iss": "claude-code-lab",
        "aud": "anthropic-api",
        "sub": "developer@acme.example",
        "org": "acme",
        "team": "data-platform",
        "llms": {"openai": ["gpt-4o-mini"]},
        "iat": 1_000,
        "exp": 4_600,
    }


def test_other_claims(keys: Path) -> None:
    token = idp.mint(keys, team="marketing", claims={"org": "other", "groups": ["a"]}, ttl=60)
    claims = verified(keys, token)
    assert (claims["team"], claims["org"], claims["groups"]) == ("marketing", "other", ["a"])
    assert claims["exp"] - claims["iat"] == 60


def test_an_expired_token_and_odd_claims_can_be_minted(keys: Path) -> None:
    with pytest.raises(jwt.ExpiredSignatureError):
        verified(keys, idp.mint(keys, ttl=-60))
    with pytest.raises(jwt.InvalidIssuerError):
        verified(keys, idp.mint(keys, claims={"iss": 5}))


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ("org=acme", ("org", "acme")),
        ("level=3", ("level", 3)),
        ('llms={"openai": []}', ("llms", {"openai": []})),
        ("on=true", ("on", True)),
        ("x=null", ("x", None)),
        ("x=NaN", ("x", "NaN")),
        ('x="3"', ("x", "3")),
        ("x=a=b", ("x", "a=b")),
        ("x=", ("x", "")),
    ],
)
def test_parse_claim(text: str, claim: tuple[str, object]) -> None:
    assert idp.parse_claim(text) == claim


@pytest.mark.parametrize("text", ["", "org", "=acme"])
def test_what_is_no_claim(text: str) -> None:
    with pytest.raises(ValueError, match="name=value"):
        idp.parse_claim(text)
