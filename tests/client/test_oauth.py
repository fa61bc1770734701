"""Against a server that speaks the grants as docs/clients.md has them."""

import json
from typing import Any

import jwt
import pytest

from extproc.client import connection, oauth
from extproc.client.connection import ClientError, Unreachable
from tests.client.oauth_server import OAuthServer
from tests.key_server import Answer, key_server


def signing_in(gateway: OAuthServer) -> tuple[oauth.Server, oauth.DeviceCode]:
    server = oauth.gateway_server(gateway.url)
    return server, oauth.request_device_code(server)


class Pauses:
    """Stands in for `time.sleep` and `time.monotonic`: time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.taken = list[float]()

    def sleep(self, seconds: float) -> None:
        self.taken.append(seconds)

    def clock(self) -> float:
        return sum(self.taken)


def poll(server: oauth.Server, code: oauth.DeviceCode, pauses: Pauses) -> oauth.Tokens:
    return oauth.poll_for_tokens(server, code, pauses.sleep, pauses.clock)


def test_a_sign_in_by_code(gateway: OAuthServer) -> None:
    server, code = signing_in(gateway)
    assert (code.user_code, code.uri, code.lifetime) == ("QWYB-MXWQ", f"{gateway.url}/device", 600)
    assert code.complete_uri == f"{gateway.url}/device?user_code=QWYB-MXWQ"
    gateway.approve()
    tokens = poll(server, code, Pauses())
    assert tokens.lifetime == 3600 and tokens.refresh_token in gateway.refresh_tokens
    assert {form.get("client_id") for _, form in gateway.forms} == {"extproc"}


def test_polling_follows_the_server(gateway: OAuthServer) -> None:
    gateway.interval = 5
    server, code = signing_in(gateway)
    gateway.scripted = [(400, {"error": name}) for name in ("authorization_pending", "slow_down")] + [(503, {})]
    gateway.approve()
    pauses = Pauses()
    poll(server, code, pauses)
    assert pauses.taken == [5, 5, 10, 21]


def test_a_gateway_that_is_away_for_a_moment(gateway: OAuthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server, code = signing_in(gateway)
    gateway.approve()
    failures, post = [Unreachable("away")], connection.post

    def flaky(url: str, form: dict[str, str]) -> Any:
        if failures:
            raise failures.pop()
        return post(url, form)

    monkeypatch.setattr(connection, "post", flaky)
    assert poll(server, code, Pauses()).access_token


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ((400, {"error": "access_denied"}), "was denied in the browser"),
        ((400, {"error": "expired_token"}), "the code has expired before anybody signed in"),
        ((400, {"error": "invalid_request", "error_description": "why\x1b[2J"}), r"HTTP 400: invalid_request: why\?\["),
        ((200, {"token_type": "Bearer"}), "gave no token: HTTP 200, but without"),
        ((200, {"access_token": "a\nb"}), "gave no token"),
        ((302, {}), "HTTP 302"),
    ],
)
def test_a_sign_in_that_fails(gateway: OAuthServer, answer: tuple[int, dict[str, Any]], complaint: str) -> None:
    server, code = signing_in(gateway)
    gateway.scripted = [answer]
    with pytest.raises(ClientError, match=complaint):
        poll(server, code, Pauses())


def test_nobody_signs_in(gateway: OAuthServer) -> None:
    gateway.device = {"expires_in": 30, "interval": 5}
    server, code = signing_in(gateway)
    pauses = Pauses()
    with pytest.raises(ClientError, match="has expired"):
        poll(server, code, pauses)
    assert pauses.taken == [5] * 5


def test_a_gateway_without_sign_in() -> None:
    with key_server() as server:
        for answer, what in ((Answer(status=404), "HTTP 404"), (Answer(b"<html>"), "HTTP 200, but")):
            server.answers["/.well-known/oauth-authorization-server"] = answer
            with pytest.raises(ClientError, match=f"offers no sign-in .*{what}.*`sign_in` section"):
                oauth.gateway_server(server.url)


def test_an_endpoint_elsewhere_gets_nothing(gateway: OAuthServer) -> None:
    """The refresh token would go there."""
    names = ("token", "device_authorization", "authorization", "revocation")
    gateway.metadata = {f"{name}_endpoint": f"https://elsewhere.example/{name}" for name in names}
    server = oauth.gateway_server(gateway.url)
    assert (server.token, server.device) == (f"{gateway.url}/oauth/token", f"{gateway.url}/oauth/device_authorization")
    assert (server.authorization, server.revocation) == (
        f"{gateway.url}/oauth/authorize",
        f"{gateway.url}/oauth/revoke",
    )


def test_endpoints_that_are_not_there(gateway: OAuthServer) -> None:
    gateway.metadata = {"device_authorization_endpoint": None, "revocation_endpoint": None}
    server = oauth.gateway_server(gateway.url)
    with pytest.raises(ClientError, match=r"no sign-in by code; try: extproc login --browser"):
        oauth.request_device_code(server)
    with pytest.raises(ClientError, match="no way to revoke"):
        oauth.revoke(server, "access", None)


@pytest.mark.parametrize("page", ["file:///etc/passwd", "javascript:alert(1)", "vscode://x"])
def test_a_page_that_is_none(gateway: OAuthServer, page: str) -> None:
    gateway.device = {"verification_uri_complete": page}
    with pytest.raises(ClientError, match="no web page"):
        signing_in(gateway)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((401, {"error": "invalid_grant"}), oauth.Refused),
        ((400, {"error": "invalid_grant"}), oauth.Refused),
        ((503, {}), Unreachable),
        ((429, {}), Unreachable),
        ((404, {}), Unreachable),
        ((403, {"error": {"type": "permission_error"}}), Unreachable),
    ],
)
def test_a_refresh_that_fails(
    gateway: OAuthServer, answer: tuple[int, dict[str, Any]], kind: type[ClientError]
) -> None:
    gateway.scripted = [answer]
    with pytest.raises(kind, match=f"HTTP {answer[0]}"):
        oauth.refresh(oauth.gateway_server(gateway.url), "token")


def test_both_tokens_are_revoked(gateway: OAuthServer) -> None:
    oauth.revoke(oauth.gateway_server(gateway.url), "access", "refresh")
    assert gateway.revoked == ["access", "refresh"]
    assert gateway.forms[-1][1]["token_type_hint"] == "refresh_token"


def test_a_workloads_token(gateway: OAuthServer) -> None:
    server = oauth.gateway_server(gateway.url)
    assert oauth.exchange_token(server, "workload").access_token
    with pytest.raises(ClientError, match="invalid_grant"):
        oauth.exchange_token(server, "another")


def given(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], bearer: str) -> float:
    """The lifetime of the tokens in such an answer."""
    monkeypatch.setattr(connection, "post", lambda *_: connection.Reply(200, fields))
    server = oauth.Server("https://idp.example", "https://idp.example/token", bearer=bearer)
    return oauth.exchange_token(server, "t").lifetime


@pytest.mark.parametrize("said", ["1e999", "-1", "NaN", "true", '"3600"', "1e20"])
def test_a_lifetime_that_is_none_is_the_usual_one(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"access_token": "a", "expires_in": json.loads(said)}
    assert given(monkeypatch, answer, "access_token") == oauth.DEFAULT_LIFETIME


@pytest.mark.parametrize("times", [{"exp": "x", "iat": 0}, {"exp": None}, {"exp": [], "iat": {}}])
def test_an_id_token_with_odd_times_has_the_usual_lifetime(
    times: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = jwt.encode({"sub": "a", **times}, "k" * 32, "HS256")
    assert given(monkeypatch, {"id_token": token}, "id_token") == oauth.DEFAULT_LIFETIME
