import threading
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from extproc.client import browser, oauth
from extproc.client.connection import ClientError
from tests.client.oauth_server import OAuthServer

Visit = Callable[[httpx.Client, str, dict[str, str]], None]


class Browser:
    """Opens a page as `webbrowser` does: somewhere else, so that the caller can wait."""

    def __init__(self, visit: Visit) -> None:
        self.visit, self.errors = visit, list[Exception]()

    def open(self, page: str) -> bool:
        query = {name: values[0] for name, values in parse_qs(urlsplit(page).query).items()}

        def run() -> None:
            try:
                with httpx.Client(timeout=10) as client:
                    self.visit(client, page, query)
            except (AssertionError, httpx.HTTPError) as error:
                self.errors.append(error)

        self.thread = threading.Thread(target=run)
        self.thread.start()
        return True

    def sign_in(self, server: oauth.Server) -> oauth.Tokens:
        try:
            return browser.sign_in(server, lambda _: None, self.open, wait=10)
        finally:
            self.thread.join()
            assert not self.errors


def agree(client: httpx.Client, page: str, _: dict[str, str]) -> None:
    answer = client.get(page, follow_redirects=True)
    assert answer.status_code == 200 and "Go on in the terminal" in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_sign_in_by_redirect(gateway: OAuthServer) -> None:
    assert Browser(agree).sign_in(oauth.gateway_server(gateway.url)).refresh_token in gateway.refresh_tokens


def test_only_the_answer_to_this_question_counts(gateway: OAuthServer) -> None:
    def strangers_first(client: httpx.Client, page: str, query: dict[str, str]) -> None:
        callback = query["redirect_uri"]
        for path in ("/favicon.ico", "/callback", "/callback?code=stolen&state=guessed", "/callback?code=stolen"):
            assert client.get(callback.replace("/callback", path)).status_code == 404
        agree(client, page, query)

    assert Browser(strangers_first).sign_in(oauth.gateway_server(gateway.url)).access_token


def test_a_refusal(gateway: OAuthServer) -> None:
    def refuse(client: httpx.Client, _: str, query: dict[str, str]) -> None:
        answer = {"error": "access_denied", "error_description": "not\x1b[2J you", "state": query["state"]}
        assert "You are not signed in" in client.get(query["redirect_uri"], params=answer).text

    with pytest.raises(ClientError, match=r"refused the sign-in \(access_denied: not\?\[2J you\)"):
        Browser(refuse).sign_in(oauth.gateway_server(gateway.url))


def test_an_answer_of_another_server(gateway: OAuthServer) -> None:
    gateway.metadata = {"authorization_response_iss_parameter_supported": True}

    def mixed_up(client: httpx.Client, _: str, query: dict[str, str]) -> None:
        answer = {"code": "another's", "iss": "https://evil.example", "state": query["state"]}
        client.get(query["redirect_uri"], params=answer)

    with pytest.raises(ClientError, match="came back from another server"):
        Browser(mixed_up).sign_in(oauth.gateway_server(gateway.url))
    assert not gateway.forms


def test_nobody_comes_back(gateway: OAuthServer) -> None:
    server = oauth.gateway_server(gateway.url)
    with pytest.raises(ClientError, match="nobody finished the sign-in"):
        browser.sign_in(server, lambda _: None, lambda _: True, wait=0.05)


def test_a_gateway_without_redirects(gateway: OAuthServer) -> None:
    gateway.metadata = {"authorization_endpoint": None}
    with pytest.raises(ClientError, match="no sign-in by redirect; leave out --browser"):
        browser.sign_in(oauth.gateway_server(gateway.url), lambda _: None)
