"""The pages, and who tries to misuse them."""

import html
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from extproc.sign_in.device import ALPHABET
from tests.e2e import forge
from tests.web.site import CLIENT, ISSUER, URL, Json, Site, fields

PENDING = {"error": "authorization_pending"}


def words(page: httpx.Response) -> str:
    body = re.sub(r"(?s)<style.*?</style>", "", page.text)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_a_link_with_a_code_shows_it_and_asks(site: Site) -> None:
    codes = site.begin()
    page = site.get(f"/device?user_code={codes['user_code']}")
    text = words(page)
    assert codes["user_code"] in text and "Claude Code asked for it just now from 192.0.2.7" in text
    assert "If somebody sent you this link" in text
    assert page.text.count("<form") == 2 and "<script" not in page.text  # nothing is submitted by itself
    assert site.poll(codes).json() == PENDING


def test_headers_of_a_page(site: Site) -> None:
    page = site.get(f"/device?user_code={site.begin()['user_code']}")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert f"form-action 'self' {ISSUER} https:; frame-ancestors 'none'" in policy
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-frame-options"] == "DENY" and page.headers["referrer-policy"] == "same-origin"
    assert "width=device-width" in page.text


@pytest.mark.parametrize("typed", ["abcd efgh", "{}", " {} ", "{}-", "lower"])
def test_a_code_as_people_type_it(site: Site, typed: str) -> None:
    code = site.begin()["user_code"]
    given = code.lower().replace("-", "") if typed == "lower" else typed.format(code)
    answer = site.post("/device", {"user_code": given}, headers={"origin": URL})
    if "{}" in typed or typed == "lower":
        assert answer.status_code == 302
    else:
        assert "was not recognized" in words(answer)


def test_a_code_of_the_alphabet(site: Site) -> None:
    for _ in range(20):
        assert re.fullmatch(f"[{ALPHABET}]{{4}}-[{ALPHABET}]{{4}}", site.begin()["user_code"])


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example", f"{URL}.evil.example", URL + ":444", ""])
@pytest.mark.parametrize("path", ["/device", "/device/deny"])
def test_a_form_from_another_origin_does_nothing(
    site: Site, path: str, origin: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    codes = site.begin()
    headers = {} if origin is None else {"origin": origin}
    answer = site.post(path, {"user_code": codes["user_code"]}, headers=headers)
    assert answer.status_code == 200 and "Please confirm here" in words(answer) and not answer.cookies
    assert "csrf_rejected" in caplog.text
    assert site.poll(codes).json() == PENDING


def test_cancelling_voids_the_code(site: Site) -> None:
    codes = site.begin()
    answer = site.post("/device/deny", {"user_code": codes["user_code"]}, headers={"origin": URL})
    assert "Cancelled." in words(answer)
    assert site.poll(codes).json()["error"] == "access_denied"
    assert "was not recognized" in words(site.get(f"/device?user_code={codes['user_code']}"))


def test_a_code_that_expired_between_two_pages(site: Site) -> None:
    codes, browser = site.begin(), site.client()
    location = site.confirm(codes["user_code"], browser)
    site.ahead += 601
    page = site.come_back(location, browser)
    assert page.status_code == 400 and "has expired or has been used" in words(page)
    assert site.idp.requests("/token") == []


def test_guesses_of_codes_are_limited(tmp_path: Path) -> None:
    with Site(tmp_path, {"attempts_per_address": 5}) as site:
        codes = site.begin()
        for n in range(5):
            assert site.get(f"/device?user_code=BBBB-BBB{ALPHABET[n]}").status_code == 200
        for path in ("/device", "/device/deny"):
            answer = site.post(path, {"user_code": codes["user_code"]}, headers={"origin": URL})
            assert answer.status_code == 429, "the right code is not tried either"
        assert site.poll(codes).json() == PENDING


def test_the_cookie_is_the_flows_alone(site: Site) -> None:
    codes, browser = site.begin(), site.client()
    answer = site.post("/device", {"user_code": codes["user_code"]}, browser, {"origin": URL})
    [cookie] = answer.headers.get_list("set-cookie")
    assert cookie.startswith("__Host-extproc-sign-in=")
    assert {"HttpOnly", "Max-Age=600", "Path=/", "SameSite=lax", "Secure"} == set(cookie.split("; ")[1:])
    done = site.come_back(answer.headers["location"], browser)
    assert 'extproc-sign-in=""' in done.headers["set-cookie"] and "Max-Age=0" in done.headers["set-cookie"]


def test_another_browser_cannot_finish(site: Site) -> None:
    """An attacker's own login, finished in a victim's browser, or the other way round."""
    codes = site.begin()
    location = site.confirm(codes["user_code"], site.client())
    page = site.come_back(location, site.client())
    assert page.status_code == 400 and "began in another browser" in words(page)
    assert site.poll(codes).json() == PENDING and site.idp.requests("/token") == []


def test_a_redirect_counts_once(site: Site) -> None:
    codes, browser = site.begin(), site.client()
    location = site.confirm(codes["user_code"], browser)
    code, state = site.idp.code(location), fields(location)["state"]
    kept = dict(browser.cookies)
    first = site.get(f"/oauth/callback?code={code}&state={state}", browser)
    again = site.client()
    again.cookies = httpx.Cookies(kept)
    second = site.get(f"/oauth/callback?code={code}&state={state}", again)
    assert first.status_code == 200 and second.status_code == 400
    assert len(site.idp.requests("/token")) == 1


def test_one_state_does_not_carry_many_codes_to_the_provider(site: Site) -> None:
    """Anybody has a state and its cookie for the asking; each code would be an entry in the store, and a failed login
    of our client at the provider."""
    browser = site.client()
    location = site.confirm(site.begin()["user_code"], browser)
    kept = dict(browser.cookies)
    for n in range(3):
        browser.cookies = httpx.Cookies(kept)
        page = site.get(f"/oauth/callback?code=guess-{n}&state={fields(location)['state']}", browser)
        assert page.status_code == 400
    assert len(site.idp.requests("/token")) == 1


def test_one_address_is_not_sent_to_the_login_without_end(tmp_path: Path) -> None:
    with Site(tmp_path, {"attempts_per_address": 5}) as site:
        form = {"user_code": site.begin()["user_code"]}
        found = [site.post("/device", form, headers={"origin": URL}).status_code for _ in range(6)]
        assert found == [302] * 5 + [429]


@pytest.mark.parametrize("state", ["", "x", "A" * 200])
def test_a_state_that_is_not_ours(site: Site, state: str) -> None:
    codes, browser = site.begin(), site.client()
    location = site.confirm(codes["user_code"], browser)
    page = site.come_back(location, browser, state=state)
    assert page.status_code == 400 and site.idp.requests("/token") == []


def test_a_redirect_of_another_issuer(site: Site) -> None:
    """The mix-up attack: https://www.rfc-editor.org/rfc/rfc9207"""
    codes, browser = site.begin(), site.client()
    location = site.confirm(codes["user_code"], browser)
    page = site.come_back(location, browser, iss="https://evil.example")
    assert page.status_code == 400 and site.idp.requests("/token") == []
    site.idp.metadata["authorization_response_iss_parameter_supported"] = True
    site.restart()
    browser = site.client()
    assert site.come_back(site.confirm(codes["user_code"], browser), browser).status_code == 400
    assert site.come_back(site.confirm(codes["user_code"], browser), browser, iss=ISSUER).status_code == 200


def test_another_persons_code_of_the_provider(site: Site) -> None:
    """Code injection: the verifier and the nonce belong to one browser's flow."""
    codes, mine, theirs = site.begin(), site.client(), site.client()
    stolen = site.idp.code(site.confirm(site.begin()["user_code"], theirs))
    location = site.confirm(codes["user_code"], mine)
    page = site.come_back(location, mine, code=stolen)
    assert page.status_code == 400 and site.poll(codes).json() == PENDING


@pytest.mark.parametrize("error", ["access_denied", "login_required", "<script>alert(1)</script>", "\r\nx: y"])
def test_a_provider_that_refuses(site: Site, error: str) -> None:
    codes, browser = site.begin(), site.client()
    state = fields(site.confirm(codes["user_code"], browser))["state"]
    query = httpx.QueryParams({"error": error, "state": state, "error_description": "<b>x</b>"})
    page = site.get(f"/oauth/callback?{query}", browser)
    assert page.status_code == 400 and "couldn't finish signing you in" in words(page)
    assert "<script" not in page.text and "<b>" not in page.text
    assert site.poll(codes).json() == PENDING
    assert site.approve(codes).status_code == 200  # the link works again


def test_somebody_who_is_not_allowed(site: Site) -> None:
    site.idp.claims["groups"] = ["visitors"]
    codes = site.begin()
    page = site.approve(codes)
    assert page.status_code == 403 and "may not use this gateway" in words(page)
    assert site.poll(codes).json()["error"] == "access_denied"


ID_TOKENS: list[tuple[Json, str, str]] = [
    ({"aud": "another-client"}, "does not accept", "wrong_audience"),
    ({"aud": ["llm-gateway", "other"], "azp": "other"}, "does not accept", "another client's"),
    ({"nonce": "\N{SNOWMAN}"}, "does not accept", "wrong nonce"),
    ({"nonce": "another"}, "does not accept", "wrong nonce"),
    ({"nonce": None}, "does not accept", "wrong nonce"),
    ({"iss": "https://evil.example"}, "does not accept", "wrong_issuer"),
    ({"iat": int(time.time()) + 400}, "clocks", "token_not_yet_valid"),
    ({"exp": int(time.time()) - 400}, "clocks", "token_expired"),
    ({"sub": None}, "does not accept", "claim_missing"),
    ({"sub": 7}, "does not accept", "sub is no string"),
    ({"sub": "key:nightly"}, "does not accept", "reserved_subject"),
    ({"groups": None, "_claim_names": {"groups": "src1"}}, "more groups", "groups overage"),
    ({"groups": None, "hasgroups": True}, "more groups", "groups overage"),
    ({"groups": [f"group-{n:05}" for n in range(3000)] + ["developers"]}, "more groups", "the access token has"),
]


@pytest.mark.parametrize(("claims", "shown", "logged"), ID_TOKENS)
def test_a_faulty_id_token(site: Site, claims: Json, shown: str, logged: str, caplog: pytest.LogCaptureFixture) -> None:
    site.idp.id_token = claims
    codes = site.begin()
    page = site.approve(codes)
    assert page.status_code in {400, 403} and shown in words(page), words(page)
    assert logged in caplog.text
    assert site.poll(codes).status_code == 400


def test_an_id_token_without_a_signature(site: Site) -> None:
    claims = {"iss": ISSUER, "aud": CLIENT, "sub": "alice", "exp": int(time.time()) + 300}
    site.idp.tokens = {"id_token": forge.token({"alg": "none"}, claims, forge.unsigned)}
    assert site.approve(site.begin()).status_code == 400


@pytest.mark.parametrize("header", [{"kid": "unknown"}, {"typ": "logout+jwt"}])
def test_an_id_token_that_proves_nothing(site: Site, header: Json) -> None:
    site.idp.header = header
    codes = site.begin()
    assert site.approve(codes).status_code == 400
    assert site.poll(codes).json() == PENDING


METADATA: list[tuple[Callable[[Json], Any], str]] = [
    (lambda found: found.update(issuer="https://other.example"), "its issuer is 'https://other.example'"),
    (lambda found: found.pop("token_endpoint"), "its token_endpoint is no HTTPS URL"),
    (lambda found: found.update(authorization_endpoint="http://idp.corp.example/a"), "its authorization_endpoint"),
    (lambda found: found.update(authorization_endpoint="javascript:alert(1)"), "its authorization_endpoint"),
    (lambda found: found.update(jwks_uri=7), "its jwks_uri"),
    (lambda found: found.update(id_token_signing_alg_values_supported=["HS256", "none"]), "no algorithm"),
    (lambda found: found.update(code_challenge_methods_supported=["plain"]), "PKCE"),
]


@pytest.mark.parametrize(("change", "logged"), METADATA)
def test_faulty_metadata(
    site: Site, change: Callable[[Json], Any], logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    change(site.idp.metadata)
    codes = site.begin()
    page = site.get(f"/device?user_code={codes['user_code']}")
    assert page.status_code == 503 and "cannot be reached at the moment" in words(page)
    assert logged in caplog.text and "idp.corp" not in page.text
    assert site.poll(codes).json() == PENDING


def test_a_secret_goes_as_the_provider_wants_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3c:ret\n")
    with Site(tmp_path, {"client_secret": {"file": "secret"}}) as site:
        site.sign_in()
        sent = [headers for path, _, headers in site.idp.asked if path == "/token"][-1]
        assert sent["authorization"] == "Basic bGxtLWdhdGV3YXk6czNjJTNBcmV0"
        site.idp.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
        site.restart()
        site.sign_in()
        assert site.idp.requests("/token")[-1]["client_secret"] == "s3c:ret"


def test_where_a_browser_is_sent_is_never_its_own_choice(site: Site) -> None:
    codes = site.begin()
    for name in ("redirect_uri", "next", "return_to", "url"):
        form = {"user_code": codes["user_code"], name: "https://evil.example"}
        answer = site.post(
            f"/device?{name}=https://evil.example", form, headers={"origin": URL, "host": "evil.example"}
        )
        assert answer.headers["location"].startswith(f"{ISSUER}/authorize?")
        assert "evil" not in json.dumps(dict(answer.headers))
