"""Tokens of workloads for tokens of the gateway."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests import issuing
from tests.key_server import KeyServer, key_server
from tests.web.site import Json, Site

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
GITHUB: Json = {  # https://docs.github.com/en/actions/reference/security/oidc
    "sub": "repo:corp/app:ref:refs/heads/main", "aud": "llm-gateway", "repository": "corp/app",
    "repository_owner": "corp", "ref": "refs/heads/main", "workflow": "ci", "runner_environment": "github-hosted",
    "job_workflow_ref": "corp/app/.github/workflows/ci.yml@refs/heads/main", "jti": "1",
}  # fmt: skip
KUBERNETES: Json = {  # https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/
    "sub": "system:serviceaccount:ci:runner", "aud": ["https://kubernetes.default.svc", "llm-gateway"],
    "kubernetes.io": {"namespace": "ci", "serviceaccount": {"name": "runner", "uid": "u"}},
}  # fmt: skip


@pytest.fixture(scope="module")
def keys() -> Iterator[KeyServer]:
    with key_server() as server:
        server.serve(issuing.jwk())
        server.serve_json("/.well-known/openid-configuration", {"issuer": server.url, "jwks_uri": f"{server.url}/jwks"})
        yield server


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, keys: KeyServer) -> Iterator[Site]:
    cluster = '"kubernetes.io" in jwt && jwt["kubernetes.io"].namespace == "ci"'
    rows = [
        {
            "issuer": keys.url,
            "audiences": ["llm-gateway"],
            "when": 'jwt.repository == "corp/app"',
            "claims": {"team": "ci"},
        },
        {
            "issuer": keys.url,
            "audiences": ["llm-gateway"],
            "when": cluster,
            "claims": {"team": "jobs"},
            "token_ttl": 120,
        },
    ]
    with Site(tmp_path_factory.mktemp("exchange"), {"exchange": rows}) as made:
        yield made


def workload(keys: KeyServer, claims: Json, **changes: Any) -> str:
    now = int(time.time())
    given = {"iss": keys.url, "iat": now, "exp": now + 300} | claims | changes
    return issuing.token({name: value for name, value in given.items() if value is not None})


def exchange(site: Site, token: str, **form: str) -> httpx.Response:
    return site.post("/oauth/token", {"grant_type": GRANT, "subject_token": token, "subject_token_type": JWT, **form})


@pytest.mark.parametrize(("claims", "team", "seconds"), [(GITHUB, "ci", 900), (KUBERNETES, "jobs", 120)])
def test_a_workloads_token(site: Site, keys: KeyServer, claims: Json, team: str, seconds: int) -> None:
    answer = exchange(site, workload(keys, claims)).json()
    assert answer["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
    assert answer["expires_in"] == seconds and answer["token_type"] == "Bearer" and "refresh_token" not in answer
    found = jwt.decode(answer["access_token"], options={"verify_signature": False})
    assert (found["sub"], found["team"], found["idp"]) == (claims["sub"], team, keys.url)
    assert found["exp"] - int(found["iat"]) == seconds


REFUSED: list[tuple[Json, str]] = [
    ({"aud": "another"}, "wrong_audience"),
    ({"repository": "evil/app"}, "no rule of sign_in.exchange holds"),
    ({"repository": None}, "no rule of sign_in.exchange holds"),
    ({"exp": int(time.time()) - 100}, "token_expired"),
    ({"iss": "https://evil.example"}, "wrong_issuer"),
    ({"sub": None}, "claim_missing"),
    ({"sub": "key:nightly"}, "reserved_subject"),
]


@pytest.mark.parametrize(("changes", "logged"), REFUSED)
def test_a_token_that_is_not_exchanged(
    site: Site, keys: KeyServer, changes: Json, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = exchange(site, workload(keys, GITHUB, **changes))
    assert answer.status_code == 400 and answer.json()["error"] == "invalid_grant"
    assert logged in caplog.text and keys.url not in answer.text


def test_a_forged_token(site: Site, keys: KeyServer) -> None:
    claims = {"iss": keys.url, "exp": int(time.time()) + 300, **GITHUB}
    forged = issuing.token(
        json.dumps(claims).encode(), header={"kid": "EC-1"}, key=ec.generate_private_key(ec.SECP256R1())
    )
    assert exchange(site, forged).json()["error"] == "invalid_grant"


def test_our_own_tokens_are_not_exchanged(site: Site, keys: KeyServer) -> None:
    own = exchange(site, workload(keys, GITHUB)).json()["access_token"]
    assert exchange(site, own).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "form",
    [
        {"subject_token": ""},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"actor_token": "x"},
    ],
)
def test_a_faulty_request(site: Site, keys: KeyServer, form: dict[str, str]) -> None:
    answer = exchange(site, workload(keys, GITHUB), **form)
    assert answer.status_code == 400 and answer.json()["error"] == "invalid_request"


def test_discovery_says_that_tokens_are_exchanged(site: Site) -> None:
    assert GRANT in site.get("/.well-known/oauth-authorization-server").json()["grant_types_supported"]


def test_an_issuer_that_is_down(tmp_path: Path) -> None:
    rows = [{"issuer": "http://127.0.0.1:9", "audiences": ["a"], "when": "true"}]
    with Site(tmp_path, {"exchange": rows}) as site:
        token = issuing.token({"iss": "http://127.0.0.1:9", "aud": "a", "exp": int(time.time()) + 60})
        assert exchange(site, token).status_code == 503
