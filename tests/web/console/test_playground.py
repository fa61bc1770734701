"""The playground: what the gateway would do with a request, for whom, and what nobody else gets to see."""

import html
import json
import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from extproc.policy.admit import Load
from extproc.providers.availability import AvailabilityUpdate
from extproc.translate.job import request_for
from extproc.web.console import playground
from tests.settings import GATEWAY
from tests.web.console.test_access import sign_in
from tests.web.site import CONSOLE, URL, Site

OWN = {"origin": URL}
MORE = """
authorization: {deny: ['jwt.sub == "mallory"']}
budgets:
  - {name: person-month, key: jwt.sub, limit: {usd: 500}, per: month}
  - {name: small, key: model, when: 'model == "set"', limit: {tokens: 100}, per: day}
"""
MODELS = """
providers:
  openai: {dialects: [chat], base_url: "https://api.openai.example/v1", api_key: {env: OPENAI_API_KEY}}
  far: {dialects: [messages], base_url: "https://far.example/v1/projects/far-project/v1"}
models:
  - {name: gold, provider: openai, model: gpt-gold, require: '"gold" in jwt.groups'}
  - {name: set, provider: openai, model: gpt-set, overrides: {stop_sequences: [sk-written-here]}}
  - name: both
    providers: [{provider: openai, model: gpt-a}, {provider: far, model: claude-a, require: '"gold" in jwt.groups'}]
  - {name: "claude-*", provider: openai, model: gpt-4o-mini}
  - {name: far-x, provider: far, model: claude-a}
"""
SECRET_TEXT = "a-text-of-a-prompt"
ASK: dict[str, Any] = {
    "model": "claude-x",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": SECRET_TEXT}],
    "top_k": 5,
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr("tests.web.site.GATEWAY", GATEWAY.partition("\nproviders:")[0] + MODELS)
    monkeypatch.setattr("tests.web.site.CONSOLE", CONSOLE)
    with Site(tmp_path, {"allow": ['"developers" in jwt.groups'], "claims": ["groups"]}, more=MORE) as made:
        yield made


def tried(site: Site, browser: httpx.AsyncClient, body: Any = ASK, **fields: Any) -> httpx.Response:
    text = body if isinstance(body, str) else json.dumps(body)
    claims = fields.pop("claims", None)
    form = {"dialect": "messages", "body": text, **fields}
    if claims is not None:
        form["claims"] = claims if isinstance(claims, str) else json.dumps(claims)
    return site.post("/console/playground", form, browser, OWN)


def text(answer: httpx.Response) -> str:
    """What a person reads below the form."""
    below = answer.text.partition("</form>")[2].partition('<form class="card playground"')[2].partition("</form>")[2]
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", below)))


def test_the_form_begins_with_an_example(site: Site) -> None:
    page = html.unescape(site.get("/console/playground?dialect=chat", sign_in(site, "operators")).text)
    assert '<option value="chat" selected>' in page and '"model": "gold"' in page
    assert '"sub": "alice"' in page and '<label for="f-claims">' in page
    assert "f-claims" not in site.get("/console/playground", sign_in(site)).text


def test_a_call_that_is_allowed(site: Site) -> None:
    said = text(tried(site, sign_in(site, "operators"), claims={"sub": "ann"}))
    assert "Decision: allowed" in said and "Caller ann (jwt)" in said
    assert "Model claude-x" in said and "At the provider gpt-4o-mini" in said
    assert 'false jwt.sub == "mallory" authorization.deny.0 gateway.yaml:' in said
    assert "POST https://api.openai.example/v1/chat/completions" in said
    assert '"model": "gpt-4o-mini"' in said and SECRET_TEXT in said
    assert "dropped:top_k" in said
    assert "person-month ann $500.00 USD" in said and "small" not in said
    assert "sk-provider-key" not in said and "authorization:" not in said.lower().replace("authorization.", "")


def test_a_call_that_is_refused(site: Site) -> None:
    browser = sign_in(site, "operators")
    said = text(tried(site, browser, {**ASK, "model": "gold"}, claims={"sub": "ann", "groups": []}))
    assert "refused with 403" in said and "this token may not use gold" in said
    assert 'false "gold" in jwt.groups models.0.require.0' in said and "Request to" not in said
    said = text(tried(site, browser, {**ASK, "model": "gold"}, claims={"sub": "ann", "groups": ["gold"]}))
    assert "Decision: allowed" in said and "Request to openai" in said
    assert "refused with 403" in text(tried(site, browser, claims={"sub": "mallory"}))
    assert "refused with 403" in text(tried(site, browser, claims={"iss": "x"})), "a budget does not know the caller"
    assert "refused with 401" in text(tried(site, browser, claims=""))
    assert "refused with 404" in text(tried(site, browser, {**ASK, "model": "unknown"}, claims={"sub": "ann"}))


def test_the_model_and_the_dialect_of_the_form(site: Site) -> None:
    browser = sign_in(site, "operators")
    said = text(tried(site, browser, model="set", claims={"sub": "ann"}))
    assert "Model set" in said and "small set" in said
    said = text(tried(site, browser, {"model": "claude-y", "input": "q"}, dialect="responses", claims={"sub": "ann"}))
    assert "Path /v1/responses" in said and "Decision: allowed" in said


def test_several_providers(site: Site) -> None:
    site.gateway.availability.replace(AvailabilityUpdate({"openai": site.now() + 60}, []))
    browser, asked = sign_in(site, "operators"), {**ASK, "model": "both"}
    said = text(tried(site, browser, asked, claims={"sub": "ann", "groups": ["gold"]}))
    assert "1 far claude-a available left out for now openai gpt-a cooling down until" in said
    assert "By models.2.providers." in said and "Request to far" in said
    said = text(tried(site, browser, asked, claims={"sub": "ann", "groups": []}))
    assert "not allowed for this caller far claude-a" in said


def test_a_developer_tries_their_own_claims_alone(site: Site) -> None:
    """And sees neither rules nor addresses nor what the configuration sets."""
    browser = sign_in(site)
    said = text(tried(site, browser, model="set", claims={"sub": "olivia", "groups": ["gold"]}))
    assert "Caller alice (jwt)" in said and "olivia" not in said and "person-month alice" in said
    assert "POST /v1/chat/completions" in said and "api.openai.example" not in said
    assert "The configuration sets stop_sequences" in said and "sk-written-here" not in said
    assert "mallory" not in said and "gateway.yaml" not in said
    assert "refused with 403" in text(tried(site, browser, model="gold", claims={"groups": ["gold"]}))
    assert "sk-written-here" in text(tried(site, sign_in(site, "operators"), model="set", claims={"sub": "ann"}))


def nested(depth: int, inner: str = "1", **members: Any) -> str:
    """An object with arrays within each other."""
    return f'{json.dumps(members)[:-1]}{", " if members else ""}"a": {"[" * depth}{inner}{"]" * depth}}}'


def test_a_developer_does_not_see_what_rules_hide(site: Site) -> None:
    """Operators do."""
    developer, operator = sign_in(site), sign_in(site, "operators")
    far_path = "POST https://far.example/v1/projects/far-project/v1/messages"
    listed, shown = '<option value="gold">', site.get("/console/playground", developer).text
    assert listed not in shown and '<option value="set">' in shown and '"set"' in html.unescape(shown)
    assert listed in site.get("/console/playground", operator).text
    refused = tried(site, developer, model="gold")
    assert "refused with 403" in text(refused) and listed not in refused.text
    for hidden in ("openai", "gpt-gold", "models.0", "Entry"):
        assert hidden not in text(refused)
    assert "At the provider gpt-gold" in text(tried(site, operator, model="gold", claims={"sub": "ann"}))
    both = text(tried(site, developer, model="both"))
    assert "openai gpt-a" in both and "not allowed" not in both and "far" not in both
    path = text(tried(site, developer, model="far-x"))
    assert "POST /v1/messages" in path and "far-project" not in path
    assert far_path in text(tried(site, operator, model="far-x", claims={"sub": "ann"}))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"claims": "{"}, "not valid JSON"),
        ({"claims": "[1]"}, "expected a JSON object"),
        ({"claims": '{"a":"' + "x" * 20_000 + '"}'}, "at most 16 KiB"),
        ({"body": "{", "model": "x"}, "not valid JSON"),
        ({"body": "[" * 60_000, "model": "x"}, "not valid JSON"),
        ({"body": " " * 70_000}, "at most 64 KiB"),
        ({"body": nested(100)}, "at most 100 arrays and objects within each other"),
        ({"body": nested(917)}, "at most 100 arrays and objects within each other"),
        ({"body": nested(100), "model": "x"}, "at most 100 arrays and objects within each other"),
        ({"claims": nested(917)}, "at most 100 arrays and objects within each other"),
    ],
)
def test_what_cannot_be_tried(site: Site, fields: dict[str, Any], problem: str) -> None:
    form = {"dialect": "messages", "claims": "{}", "body": "{}", **fields}
    answer = site.post("/console/playground", form, sign_in(site, "operators"), OWN)
    assert answer.status_code == 400 and problem in answer.text and 'aria-invalid="true"' in answer.text


@pytest.mark.parametrize(
    "body", ["{", "[]", "[" * 60_000, '{"model": 5}', "{}", '{"model": "claude-x", "model": "gold"}', ""]
)
def test_a_body_that_the_gateway_refuses(site: Site, body: str) -> None:
    answer = tried(site, sign_in(site, "operators"), body, claims={"sub": "ann"})
    assert answer.status_code == 200 and "refused with 4" in text(answer)


def test_a_body_that_is_deep_enough(site: Site) -> None:
    answer = tried(site, sign_in(site, "operators"), nested(99, **ASK), claims={"sub": "ann"})
    assert answer.status_code == 200 and "Decision: " in text(answer)


def test_deep_json_is_cut_where_it_is_shown(site: Site) -> None:
    """Indented, each of 30,000 numbers has its line of 200 characters."""
    browser, far = sign_in(site, "operators"), {"claims": {"sub": "ann", "groups": ["gold"]}, "model": "both"}
    schema = json.loads(nested(90, ",".join("1" * 30_000)))
    tool = {"name": "t", "input_schema": {"type": "object", "properties": {"p": schema}}}
    body = json.dumps({**ASK, "tools": [tool]}, separators=(",", ":"))
    answer = tried(site, browser, body, **far)
    assert answer.status_code == 200 and "Only the first 256 KiB of the body are shown." in text(answer)
    assert len(answer.content) < 2 * 300 * 1024 + 100_000
    assert "of the body are shown" not in text(tried(site, browser, **far))


def test_a_translation_does_not_hold_up_the_process(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_a_thread(*words: Any) -> Any:
        assert threading.current_thread() is not threading.main_thread()
        return request_for(*words)

    monkeypatch.setattr(playground, "request_for", in_a_thread)
    assert "Request to openai" in text(tried(site, sign_in(site, "operators"), claims={"sub": "ann"}))


def test_a_form_of_another_site(site: Site) -> None:
    browser = sign_in(site, "operators")
    for origin in ({}, {"origin": "https://evil.example"}, {"origin": "null"}):
        answer = site.post("/console/playground", {"body": json.dumps(ASK)}, browser, origin)
        assert answer.status_code == 403 and "Decision:" not in answer.text
    assert site.post("/console/playground", {"body": "{}"}, None, OWN).status_code == 303, "a stranger"


def test_a_form_that_is_too_large_or_none(site: Site) -> None:
    browser = sign_in(site, "operators")
    assert site.post("/console/playground", {"body": "\n" * 400_000}, browser, OWN).status_code == 413
    assert site.post("/console/playground", b"{}", browser, OWN).status_code == 400


def test_what_is_entered_is_text(site: Site) -> None:
    body = {**ASK, "model": "<script>alert(1)</script>", "system": "\u202e</pre><img src=x>"}
    answer = tried(site, sign_in(site, "operators"), body, claims={"sub": "</textarea><b>"})
    page = answer.text
    assert "<script" not in page and "<img" not in page and "<b>" not in page


def test_nothing_is_sent_kept_or_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    browser = sign_in(site, "operators")
    in_use = site.gateway.in_flight
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "extproc"):
        for _ in range(3):
            tried(site, browser, claims={"sub": "ann"})
    assert SECRET_TEXT not in caplog.text and not [one for one in caplog.records if one.name == "extproc"]
    assert not in_use.callers and in_use.total == Load()
