"""The code flow of `extproc login --browser`, and who tries to misuse it."""

import base64
import hashlib
import html
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.web.site import ISSUER, URL, Json, Site, fields

REDIRECT = "http://127.0.0.1:50123/callback"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
ASKED = {
    "response_type": "code",
    "client_id": "extproc",
    "redirect_uri": REDIRECT,
    "state": "state-of-the-program",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
    "scope": "openid profile email offline_access",
}


def ask(site: Site, browser: httpx.AsyncClient | None = None, changes: dict[str, str] | None = None) -> httpx.Response:
    asked = httpx.QueryParams({name: value for name, value in (ASKED | (changes or {})).items() if value})
    return site.get(f"/oauth/authorize?{asked}", browser)


def confirm(site: Site, browser: httpx.AsyncClient, origin: str = URL) -> httpx.Response:
    """Presses the page's button."""
    page = ask(site, browser).text
    form = {
        html.unescape(name): html.unescape(value)
        for name, value in re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', page)
    }
    return site.post("/oauth/authorize", form, browser, {"origin": origin})


def come_back(site: Site, browser: httpx.AsyncClient, **answer: str) -> httpx.Response:
    """From the provider, whose answer is a code unless something else is given."""
    location = confirm(site, browser).headers["location"]
    given = answer or {"code": site.idp.code(location)}
    return site.get(f"/oauth/callback?{httpx.QueryParams(given | {'state': fields(location)['state']})}", browser)


def redeem(site: Site, code: str, **changes: str) -> httpx.Response:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "client_id": "extproc"}
    return site.post("/oauth/token", form | {"code_verifier": VERIFIER} | changes)


def test_a_sign_in(site: Site) -> None:
    browser = site.client()
    answer = come_back(site, browser)
    assert answer.status_code == 302 and answer.headers["location"].startswith(f"{REDIRECT}?")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    back = fields(answer.headers["location"])
    assert (back["state"], back["iss"]) == ("state-of-the-program", URL)
    tokens: Json = redeem(site, back["code"]).json()
    assert tokens["token_type"] == "Bearer" and tokens["expires_in"] == 3600
    assert site.refresh(tokens["refresh_token"]).status_code == 200


def test_the_page_asks_first(site: Site) -> None:
    """A link of a stranger's signs nobody in by itself."""
    page = ask(site)
    assert page.status_code == 200 and "extproc login --browser" in page.text and "<script" not in page.text
    policy = page.headers["content-security-policy"]
    assert f"form-action 'self' {ISSUER} http://127.0.0.1:50123 https:; frame-ancestors 'none'" in policy


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:50123"])
def test_a_form_of_another_origin_is_asked_about(site: Site, origin: str) -> None:
    answer = confirm(site, site.client(), origin)
    assert answer.status_code == 200 and "Yes, sign in" in answer.text


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1:50123.evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1:1@evil.example/callback"},
        {"redirect_uri": "http://localhost:50123/callback"},
        {"redirect_uri": f"{REDIRECT}?x=1"},
        {"redirect_uri": f"{REDIRECT}\n"},
        {"redirect_uri": ""},
        {"client_id": "another"},
        {"response_type": "token"},
        {"code_challenge_method": "plain"},
        {"code_challenge": ""},
        {"code_challenge": "short"},
        {"state": ""},
        {"state": "x" * 501},
    ],
)
def test_a_request_that_is_not_ours_goes_nowhere(site: Site, changes: dict[str, str]) -> None:
    answer = ask(site, changes=changes)
    assert answer.status_code == 400 and "location" not in answer.headers
    assert "not one of the extproc command" in answer.text
    form = {name: value for name, value in (ASKED | changes).items() if value}
    answer = site.post("/oauth/authorize", form, headers={"origin": URL})
    assert answer.status_code == 400 and "location" not in answer.headers


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": ""},
        {"redirect_uri": "http://127.0.0.1:50124/callback"},
        {"client_id": "another"},
    ],
)
def test_a_code_is_for_the_program_that_asked(site: Site, changes: dict[str, str]) -> None:
    """A wrong try makes it void."""
    code = fields(come_back(site, site.client()).headers["location"])["code"]
    answer = redeem(site, code, **changes)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert redeem(site, code).json()["error"] == "invalid_grant"


def test_a_code_counts_once_and_for_a_minute(site: Site) -> None:
    code = fields(come_back(site, site.client()).headers["location"])["code"]
    site.restart()  # it is kept
    assert redeem(site, code).status_code == 200
    assert redeem(site, code).json()["error"] == "invalid_grant"
    code = fields(come_back(site, site.client()).headers["location"])["code"]
    site.ahead += 61
    assert redeem(site, code).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("code", ["", "unknown"])
def test_a_code_of_nobodys(site: Site, code: str) -> None:
    assert redeem(site, code).json()["error"] == "invalid_grant"


def test_the_terminal_hears_why_not(site: Site) -> None:
    back = fields(come_back(site, site.client(), error="access_denied").headers["location"])
    assert back["error"] == "access_denied" and "refused, or you cancelled" in back["error_description"]
    site.idp.claims["groups"] = ["visitors"]
    back = fields(come_back(site, site.client()).headers["location"])
    assert back["error"] == "access_denied" and "may not use this gateway" in back["error_description"]
    assert back["state"] == "state-of-the-program"


def test_parameters_of_a_provider(tmp_path: Path) -> None:
    """Google gives no refresh token without some. They replace none of the protocol's own."""
    more = {"access_type": "offline", "state": "fixed"}
    with Site(tmp_path, {"authorization_parameters": more}) as site:
        query = fields(confirm(site, site.client()).headers["location"])
    assert query["access_type"] == "offline" and query["state"] != "fixed"


def test_another_browser_cannot_finish(site: Site) -> None:
    location = confirm(site, site.client()).headers["location"]
    given: dict[str, Any] = {"code": site.idp.code(location), "state": fields(location)["state"]}
    answer = site.get(f"/oauth/callback?{httpx.QueryParams(given)}", site.client())
    assert answer.status_code == 400 and "another browser" in answer.text
