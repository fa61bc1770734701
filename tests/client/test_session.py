import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from extproc.client import oauth, session, store
from extproc.client.connection import ClientError
from extproc.client.store import SignIn
from tests.client.oauth_server import OAuthServer

ROOT = Path(session.__file__).parents[2]
NOW = 1_800_000_000.0


def signed_in(gateway: OAuthServer, at: float = NOW, lifetime: float = 3600) -> SignIn:
    answer = gateway.tokens()
    tokens = oauth.Tokens(answer["access_token"], answer["refresh_token"], lifetime)
    return session.begin(gateway.url, oauth.gateway_server(gateway.url), tokens, "file", at)


@pytest.fixture
def sign_in(home: Path, gateway: OAuthServer) -> SignIn:
    return signed_in(gateway)


@pytest.mark.parametrize(("left", "refreshes"), [(3600, 0), (301, 0), (299, 1), (0, 1), (-9999, 1)])
def test_a_token_is_renewed_below_five_minutes(
    sign_in: SignIn, gateway: OAuthServer, left: float, refreshes: int
) -> None:
    now = sign_in.expires_at - left
    token = session.fresh_token(gateway.url, lambda: now)
    assert (gateway.refreshes, token != sign_in.access_token) == (refreshes, bool(refreshes))
    assert session.fresh_token(gateway.url, lambda: now) == token
    assert gateway.refreshes == refreshes
    assert session.current(gateway.url).expires_at == (now + 3600 if refreshes else sign_in.expires_at)


def test_a_clock_that_was_set_back(sign_in: SignIn, gateway: OAuthServer) -> None:
    """The token could be of any age."""
    assert session.fresh_token(gateway.url, lambda: NOW - 30) == sign_in.access_token
    assert session.fresh_token(gateway.url, lambda: NOW - 90) != sign_in.access_token


@pytest.mark.parametrize("answer", [(503, {}), (401, {"error": "invalid_grant"})])
def test_a_valid_token_serves_while_the_gateway_cannot_renew_it(
    sign_in: SignIn, gateway: OAuthServer, answer: tuple[int, dict[str, Any]]
) -> None:
    gateway.scripted = [answer]
    assert session.fresh_token(gateway.url, lambda: sign_in.expires_at - 60) == sign_in.access_token


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ((503, {}), "has expired and cannot be renewed: .* at the moment"),
        (
            (401, {"error": "invalid_grant"}),
            "has ended this sign-in .*invalid_grant.*Sign in again: extproc login --gateway",
        ),
    ],
)
def test_an_expired_token_that_cannot_be_renewed(
    sign_in: SignIn, gateway: OAuthServer, answer: tuple[int, dict[str, Any]], complaint: str
) -> None:
    gateway.scripted = [answer]
    with pytest.raises(ClientError, match=complaint):
        session.fresh_token(gateway.url, lambda: sign_in.expires_at)
    assert session.fresh_token(gateway.url, lambda: sign_in.expires_at)  # nothing was lost: a later try may do


def test_a_gateway_that_gives_no_refresh_token(home: Path, gateway: OAuthServer) -> None:
    tokens = oauth.Tokens("access", None, 3600)
    session.begin(gateway.url, oauth.gateway_server(gateway.url), tokens, "file", NOW)
    assert session.fresh_token(gateway.url, lambda: NOW + 3500) == "access"
    with pytest.raises(ClientError, match=r"nothing to renew it with\. Sign in again"):
        session.fresh_token(gateway.url, lambda: NOW + 3600)


def test_processes_at_once_renew_once(home: Path, gateway: OAuthServer) -> None:
    """A second refresh with the same token is what identity providers take for theft."""
    signed_in(gateway, at=NOW - 1e8)
    command = [sys.executable, "-m", "extproc", "token", "--stored"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = [subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    printed = {process.communicate(timeout=60)[0] for process in running}
    assert [process.returncode for process in running] == [0] * 4
    assert gateway.refreshes == 1 and len(printed) == 1


@pytest.fixture
def two(home: Path, gateway: OAuthServer) -> list[str]:
    other = "https://other.example"
    signed_in(gateway)
    session.begin(other, oauth.Server(other, f"{other}/token"), oauth.Tokens("b", None, 60), "file", NOW)
    return [gateway.url, other]


def test_which_gateway_is_meant(two: list[str]) -> None:
    with pytest.raises(ClientError, match=f"several gateways; name one with --gateway: {', '.join(two)}"):
        session.choose(None, {})
    assert session.choose("https://OTHER.example/", {}) == two[1]
    assert session.choose(None, {"EXTPROC_GATEWAY": two[0]}) == two[0]
    with store.locked(two[0]):
        store.delete(two[0])
    assert session.choose(None, {}) == two[1]


def test_nobody_is_signed_in(home: Path) -> None:
    with pytest.raises(ClientError, match=r"not signed in to any gateway\. Sign in: extproc login --gateway URL"):
        session.choose(None, {})
    with pytest.raises(ClientError, match=r"not signed in to https://a\.example\. Sign in: .* https://a\.example"):
        session.fresh_token("https://a.example")


def test_the_end(sign_in: SignIn, gateway: OAuthServer) -> None:
    session.end(gateway.url)
    assert gateway.revoked == [sign_in.access_token, sign_in.refresh_token]
    assert store.gateways() == []


def test_the_end_without_the_gateway(sign_in: SignIn, gateway: OAuthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "post", lambda *_: (503, {}))
    with pytest.raises(ClientError, match=r"did not revoke the tokens \(HTTP 503\).*removed from this machine"):
        session.end(gateway.url)
    assert store.gateways() == []
