"""Who gets into the console, what they see there, and how it ends."""

import re
import time
from typing import Any

import httpx
import msgspec
import pytest

from extproc.sign_in import console_access
from extproc.sign_in.console_access import LINK_SECONDS, ConsoleLinks
from extproc.store.interface import StoreDown
from extproc.usage.calls import Call, call_of
from extproc.usage.opening import open_ledger
from extproc.web.console import layout
from extproc.web.console.access import LINK_SESSION_SECONDS
from extproc.web.topics import ADDRESS_HEADER
from tests.usage_lines import LINE
from tests.web.site import URL, Site

PAGES = [entry.path for entry in layout.NAVIGATION]
KEY = "k" * 43
LOCAL = {ADDRESS_HEADER: "127.0.0.1"}


def call(id: str, subject: str, **changes: Any) -> Call:
    now = int(time.time() * 1000) - 1000
    made = msgspec.structs.replace(
        call_of(LINE, id), time=now, subject=subject, issuer=URL, model=f"model-of-{subject}"
    )
    return msgspec.structs.replace(made, **changes)


@pytest.fixture
def kept(site: Site) -> Site:
    ledger = open_ledger(site.gateway.source, {})
    ledger.add(
        [call("a", "alice"), call("b", "bob"), call("c", "alice", issuer="https://other", model="model-of-other")]
    )
    ledger.close()
    return site


@pytest.fixture
def linked(kept: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """As the supervisor starts it."""
    monkeypatch.setenv(console_access.KEY_VARIABLE, KEY)
    kept.restart()
    return kept


def sign_in(site: Site, *groups: str) -> httpx.AsyncClient:
    """A browser in which alice has signed in."""
    site.idp.claims = {"sub": "alice", "name": "Alice", "groups": ["developers", *groups]}
    browser = site.client()
    answer = site.post("/oauth/console", {}, browser, {"origin": URL})
    assert answer.status_code == 302, answer.text
    back = site.come_back(answer.headers["location"], browser)
    assert (back.status_code, back.headers["location"]) == (303, "/console"), back.text
    return browser


@pytest.mark.parametrize("path", PAGES)
def test_strangers_are_sent_to_the_sign_in(kept: Site, path: str) -> None:
    answer = kept.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/oauth/console")


@pytest.mark.parametrize("path", [*PAGES, "/console/call", "/oauth/console"])
def test_every_answer_has_its_policies(kept: Site, path: str) -> None:
    answer = kept.get(path, sign_in(kept, "operators"))
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "base-uri 'none'" in policy
    assert "unsafe" not in policy and "script" not in policy
    assert answer.headers["x-frame-options"] == "DENY" and answer.headers["cache-control"] == "no-store"
    assert "<script" not in answer.text and not re.search(r"\s(style|on\w+)=", answer.text)


def test_a_developer_sees_their_own_calls(kept: Site) -> None:
    browser = sign_in(kept)
    for path in ("/console", "/console/health", "/console/calls"):
        page = kept.get(path, browser).text
        assert "model-of-alice" in page and "Alice" in page, path
        assert "model-of-bob" not in page and "model-of-other" not in page, path


@pytest.mark.parametrize(
    "query",
    [
        "?subject=bob",
        "?by=subject&subject=bob",
        "?format=csv&subject=bob",
        "?format=csv&by=subject",
        "?model=model-of-bob",
    ],
)
def test_no_query_shows_somebody_elses_calls(kept: Site, query: str) -> None:
    browser = sign_in(kept)
    for path in ("/console", "/console/health", "/console/calls"):
        answer = kept.get(path + query, browser)
        shown = re.sub(r'(?s)<ul class="only".*?</ul>|<a [^>]*>|<input [^>]*>', "", answer.text)
        assert answer.status_code == 200 and "bob" not in shown and "model-of-other" not in shown, path


def test_one_call_is_its_callers_and_the_operators(kept: Site) -> None:
    developer, operator = sign_in(kept), sign_in(kept, "operators")
    assert "model-of-alice" in kept.get("/console/call?id=a", developer).text
    for other in ("b", "c", "unknown", ""):
        answer = kept.get(f"/console/call?id={other}", developer)
        assert answer.status_code == 404 and "model-of" not in answer.text
    assert "model-of-bob" in kept.get("/console/call?id=b", operator).text


@pytest.mark.parametrize("path", ["/console/providers", "/console/configuration"])
def test_pages_for_operators(kept: Site, path: str) -> None:
    refused = kept.get(path, sign_in(kept))
    assert refused.status_code == 403 and "api.openai.example" not in refused.text
    assert "api.openai.example" in kept.get(path, sign_in(kept, "operators")).text


def test_an_operator_sees_everybodys_calls(kept: Site) -> None:
    page = kept.get("/console", sign_in(kept, "operators")).text
    assert all(name in page for name in ("model-of-alice", "model-of-bob", "model-of-other"))


def test_the_cookie_is_kept_from_scripts_and_other_sites(kept: Site) -> None:
    browser = sign_in(kept)
    [name] = [name for name in browser.cookies if "console" in name]
    answer = kept.post("/oauth/console", {}, kept.client(), {"origin": URL})
    assert name.startswith("__Host-") and answer.status_code == 302
    back = kept.client()
    begun = kept.post("/oauth/console", {}, back, {"origin": URL})
    [cookie] = [
        one for one in kept.come_back(begun.headers["location"], back).headers.get_list("set-cookie") if name in one
    ]
    assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=lax", "Path=/", "Max-Age=3600"))


def test_a_sign_in_that_another_site_begins(kept: Site) -> None:
    """It gets the page that asks, not the redirect."""
    for origin in ({}, {"origin": "https://evil.example"}, {"origin": "null"}):
        answer = kept.post("/oauth/console", {}, None, origin)
        assert answer.status_code == 200 and "Sign in with my company account" in answer.text


def test_signing_out_ends_the_session_at_the_gateway(kept: Site) -> None:
    browser = sign_in(kept)
    copy = httpx.Cookies(browser.cookies)
    refused = kept.post("/console/sign-out", {}, browser, {"origin": "https://evil.example"})
    assert refused.status_code == 403 and kept.get("/console", browser).status_code == 200
    assert kept.post("/console/sign-out", {}, browser, {"origin": URL}).status_code == 303
    thief = kept.client()
    thief.cookies = copy
    assert kept.get("/console", thief).status_code == 303


def test_a_session_ends_with_its_token(kept: Site) -> None:
    browser = sign_in(kept)
    kept.ahead = 3599
    assert kept.get("/console", browser).status_code == 200
    kept.ahead = 3700
    assert kept.get("/console", browser).status_code == 303


def test_who_may_not_sign_in_gets_no_session(kept: Site) -> None:
    kept.idp.claims = {"sub": "eve", "groups": ["guests"]}
    browser = kept.client()
    begun = kept.post("/oauth/console", {}, browser, {"origin": URL})
    back = kept.come_back(begun.headers["location"], browser)
    assert back.status_code == 403 and not [name for name in browser.cookies if "console" in name]


def test_a_link_opens_once_and_at_this_machine_alone(linked: Site) -> None:
    link = f"/console/open?key={ConsoleLinks(KEY).make(linked.now())}"
    assert linked.get(link).status_code == 403
    browser = linked.client()
    assert linked.get(link, browser, LOCAL).headers["location"] == "/console"
    page = linked.get("/console", browser, LOCAL)
    assert page.status_code == 200 and "model-of-bob" in page.text and "this machine" in page.text
    assert linked.get("/console", browser).status_code == 303, "the same cookie from elsewhere"
    assert linked.get(link, linked.client(), LOCAL).status_code == 403
    linked.restart()
    assert linked.get(link, linked.client(), LOCAL).status_code == 403, "after a restart of the process"
    linked.ahead = LINK_SESSION_SECONDS + 1
    assert linked.get("/console", browser, LOCAL).status_code == 303


def test_a_link_that_has_ended(linked: Site) -> None:
    link = f"/console/open?key={ConsoleLinks(KEY).make(linked.now())}"
    linked.ahead = LINK_SECONDS + 1
    assert linked.get(link, None, LOCAL).status_code == 403


def test_no_link_without_its_key(kept: Site) -> None:
    for key in ("", ConsoleLinks("").make(kept.now()), ConsoleLinks(KEY).make(kept.now())):
        assert kept.get(f"/console/open?key={key}", None, LOCAL).status_code == 403


def test_forged_cookies(linked: Site) -> None:
    browser = linked.client()
    for value in ("x" * 43, "", "../x", "é"):
        for name in ("extproc-console-link", "__Host-extproc-console", "extproc-console"):
            sent = LOCAL | {"cookie": f"{name}={value}"}
            if value.isascii():
                assert linked.get("/console", browser, sent).status_code == 303


@pytest.mark.parametrize(
    "query",
    ["by=password", "range=9y", "since=x", "since=2026-11-02&until=2026-11-01", "until=0001-01-01", "since=9999-12-31"],
)
def test_queries_that_cannot_be_read(kept: Site, query: str) -> None:
    answer = kept.get(f"/console?{query}", sign_in(kept))
    assert answer.status_code == 400 and "That cannot be shown" in answer.text


def test_what_comes_from_outside_is_text(kept: Site) -> None:
    ledger = open_ledger(kept.gateway.source, {})
    ledger.add([call("x", "alice", model="<script>alert(1)</script>", error='"><img src=x>', reason="Upstream")])
    ledger.close()
    browser = sign_in(kept, "operators")
    for path in ("/console", "/console/health", "/console/calls", "/console/call?id=x"):
        page = kept.get(path, browser).text
        assert "<script" not in page and "<img" not in page, path
    assert "<b>" not in kept.get("/console?model=<b>x", browser).text.replace("<b>&lt;b&gt;x</b>", "")


def test_a_csv_has_the_rows_of_its_table(kept: Site) -> None:
    browser = sign_in(kept, "operators")
    answer = kept.get("/console?format=csv&table=by&by=subject", browser)
    assert answer.headers["content-type"].startswith("text/csv")
    assert 'filename="console-by.csv"' in answer.headers["content-disposition"]
    header, first, *_ = answer.text.splitlines()
    assert header == "subject,calls,failed_calls,input_tokens,cache_read_tokens,output_tokens,unpriced_calls,cost"
    assert first == "alice,2,0,2000,800,200,0,0.005360002"


def test_calls_are_followed_where_somebody_asks_for_it(kept: Site) -> None:
    browser = sign_in(kept)
    page = kept.get("/console/calls", browser)
    assert "refresh" not in page.headers and "live=1" in page.text
    live = kept.get("/console/calls?live=1", browser)
    assert live.headers["refresh"] == "5" and "Stop following" in live.text and "live=1" not in live.text
    older = kept.get("/console/calls?live=1&before=1~a", browser)
    assert "refresh" not in older.headers


def test_a_store_that_is_down(kept: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = sign_in(kept)

    async def down(*_: object) -> None:
        raise StoreDown("no")

    monkeypatch.setattr(kept.store, "get", down)
    assert kept.get("/console", browser).status_code == 503


def test_a_ledger_that_is_not_there(site: Site) -> None:
    answer = site.get("/console", sign_in(site))
    assert answer.status_code == 503 and "No figures" in answer.text
