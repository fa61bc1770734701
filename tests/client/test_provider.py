"""`extproc login --issuer`: at a real OpenID provider, for gateways that trust its id_tokens themselves."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import jwt
import pytest

from extproc.client import commands, connection, oauth, session
from extproc.client.connection import ClientError
from tests.certificates import certificate
from tests.client.test_browser import Browser
from tests.e2e.identity_provider import IdentityProvider, identity_provider
from tests.e2e.stack import free_port
from tests.key_server import key_server

GATEWAY = "https://llm.corp.example"


@pytest.fixture
def provider(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[IdentityProvider]:
    certificate(home, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(home / "ca.pem"))
    connection.trust.cache_clear()
    post = connection.post  # the package knows no public clients, but takes any secret
    monkeypatch.setattr(connection, "post", lambda url, form: post(url, {**form, "client_secret": "any"}))
    with identity_provider(home, free_port()) as running:
        yield running
    connection.trust.cache_clear()


def test_a_sign_in_at_the_provider(provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    def agree(_: httpx.Client, page: str, query: dict[str, str]) -> None:
        trusted = ssl.create_default_context(cafile=provider.roots)
        with httpx.Client(verify=trusted, timeout=10) as client:
            client.put(f"{provider.issuer}/users/ann", json={"email": "ann@corp.example"}).raise_for_status()
            answer = client.post(page, data={"sub": "ann"}, follow_redirects=True)
        assert "Go on in the terminal" in answer.text and query["client_id"] == "extproc"

    monkeypatch.setattr("webbrowser.open", Browser(agree).open)
    commands.login(commands.Login(GATEWAY, issuer=provider.issuer, client_id="extproc"))
    token = session.fresh_token(GATEWAY)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["iss"], claims["aud"], claims["sub"]) == (provider.issuer, ["extproc"], "ann")
    kept = session.current(GATEWAY)
    assert kept.expires_at - kept.obtained_at == claims["exp"] - claims["iat"]
    # This one renews nothing for public clients.
    again = f"extproc login --gateway {GATEWAY} --issuer {provider.issuer} --client-id extproc$"
    with pytest.raises(ClientError, match=f"has ended this sign-in .* Sign in again: {again}"):
        session.fresh_token(GATEWAY, lambda: kept.expires_at)


def test_what_is_no_provider(home: Path) -> None:
    with key_server() as server:
        with pytest.raises(ClientError, match=f"{server.url} is no OpenID provider .*HTTP 404"):
            oauth.provider_server(server.url, "extproc")
        plain = {
            "issuer": server.url,
            "token_endpoint": "http://idp.example/token",
            "authorization_endpoint": "https://idp.example/a?b=c",
        }
        server.serve_json("/.well-known/openid-configuration", plain)
        with pytest.raises(ClientError, match=r"http://idp\.example/token would send tokens unencrypted"):
            oauth.provider_server(server.url, "extproc")
        sound = {**plain, "token_endpoint": "https://idp.example/token", "issuer": f"{server.url}/"}
        server.serve_json("/.well-known/openid-configuration", sound)
        assert oauth.provider_server(server.url, "extproc").token == sound["token_endpoint"]
        server.serve_json("/.well-known/openid-configuration", {**sound, "issuer": "https://other.example"})
        with pytest.raises(ClientError, match=r"is of another issuer, 'https://other\.example'"):
            oauth.provider_server(server.url, "extproc")
