"""Whole exchanges without a network: what is refused, what goes upstream, what comes back, what is recorded."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from extproc.events import Headers, RequestHeaders
from extproc.gateway.gateway import Gateway, _request_id
from extproc.translate.for_messages.web_search import NOT_AVAILABLE
from tests.issuing import claims, token
from tests.playbook import (
    ABSENT,
    OUR_ID,
    Json,
    Playbook,
    answers,
    awaits,
    forwards,
    rejects,
    request_body,
    request_headers,
)
from tests.settings import AUTHENTICATION, CLUSTER, KEY, PROVIDERS, gateway

TEXT = f"""
{AUTHENTICATION}
authorization:
  allow: ['jwt.org == "acme"']
  deny: ['model == "claude-forbidden"']
{PROVIDERS}
models:
  - {{name: "claude-gold", provider: openai, model: gpt-4o, allow: 'jwt.tier == "gold"', context_window: 1000}}
  - {{name: "claude-tuned", provider: openai, model: gpt-4o, max_output_tokens: 50,
     defaults: {{temperature: 0.5, max_tokens: 9}}, overrides: {{top_p: 0.25}}}}
  - {{name: "claude-forbidden", provider: openai}}
  - {{name: "claude-uncounted*", provider: openai, profile: {{name: generic, count_tokens: "off"}}}}
  - {{name: "claude-*", provider: openai, model: gpt-4o-mini}}
records: {{claims: [team]}}
"""
ASK: Json = {"model": "claude-x", "max_tokens": 10, "messages": [{"role": "user", "content": "q"}]}
PERMISSION, AUTHENTICATION_ERROR, INVALID = "permission_error", "authentication_error", "invalid_request_error"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    return gateway(tmp_path_factory.mktemp("gateway"), TEXT)


def admitted(gate: Gateway, path: str = "/v1/messages", **changes: Any) -> Playbook:
    return Playbook(gate) >> request_headers(path, token=token(claims(**changes))) << awaits()


def heavy(**members: Any) -> Json:
    return {**ASK, "messages": [{"role": "user", "content": "q"}] * 20_000, **members}


def test_a_heavy_body_goes_up_like_any_other(gate: Gateway) -> None:
    said = "\n\n".join(["q"] * 20_000)
    sent = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": said}]}
    assert admitted(gate) >> request_body(heavy()) << forwards(sent)


def test_a_heavy_body_is_refused_like_any_other(gate: Gateway) -> None:
    for members, status, kind in (
        ({"model": "claude-forbidden"}, 403, PERMISSION),
        ({"model": "nobodys"}, 404, "not_found_error"),
        ({"Model": "claude-x"}, 400, INVALID),
        ({"max_tokens": "1"}, 400, INVALID),
        ({"tools": [{}] * 10_001}, 400, INVALID),
    ):
        assert admitted(gate) >> request_body(heavy(**members)) << rejects(status, kind)
    assert admitted(gate) >> request_body(msgspec.json.encode(heavy())[:-1]) << rejects(400, INVALID)


def test_a_heavy_body_cannot_be_read_in_two_ways(tmp_path: Path) -> None:
    raw = msgspec.json.encode(heavy())[:-1]
    gate = gateway(tmp_path, TEXT)
    problem = "Tools: write `tools`"
    assert admitted(gate) >> request_body(raw + b',"Tools":[]}') << rejects(400, INVALID, problem)
    twice = raw + b',"metadata":{"a":1,"a":2}}'
    assert admitted(gate) >> request_body(twice) << forwards({})
    gate = gateway(tmp_path, TEXT.replace("deny: [", "deny: ['\"x\" in llm.tools', "))
    problem = "a: this name is given twice in one object"
    assert admitted(gate) >> request_body(twice) << rejects(400, INVALID, problem)


def test_bounds_of_a_body_are_configured(tmp_path: Path) -> None:
    gate = gateway(tmp_path, TEXT + "limits: {body: {turns: 2}}\n")
    two = ASK["messages"] * 2
    assert admitted(gate) >> request_body({**ASK, "messages": two}) << forwards({})
    problem = "messages: List should have at most 2 items, not 4"
    assert admitted(gate) >> request_body({**ASK, "messages": two * 2}) << rejects(400, INVALID, problem)


def test_a_valid_token_is_let_through(gate: Gateway) -> None:
    play = Playbook(gate) >> request_headers(token=token(), anthropic_version="2023-06-01")
    known: Json = {
        "jwt.sub": "ann",
        "jwt.iss": "lab",
        "caller.team": "data",
        "endpoint": "messages",
        "request_id": OUR_ID,
    }
    play << awaits(**known, **{"gen_ai.operation.name": "chat", "dialect": "messages", "verdict": ABSENT})
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "q"}]}
    verdict = {"verdict": "allow", "cluster": CLUSTER, "gen_ai.request.model": "claude-x"}
    assert play >> request_body(ASK) << forwards(body, {":path": "/v1/chat/completions"}, **verdict)


def test_no_token(gate: Gateway) -> None:
    play = Playbook(gate) >> request_headers()
    headers = {
        "www-authenticate": "Bearer",
        "request-id": OUR_ID,
        "x-request-id": OUR_ID,
    }
    known: Json = {"reason": "JwtAuth", "error": "credential_missing", "jwt.sub": ABSENT}
    assert play << rejects(401, AUTHENTICATION_ERROR, "missing credential", headers=headers, **known)


def test_an_invalid_token(gate: Gateway) -> None:
    play = Playbook(gate) >> request_headers(token=token(claims(exp=1)))
    headers = {"www-authenticate": 'Bearer error="invalid_token"'}
    known: Json = {"reason": "JwtAuth", "error": "token_expired"}
    assert play << rejects(401, AUTHENTICATION_ERROR, "credential expired", headers=headers, **known)


def test_a_stranger(gate: Gateway) -> None:
    play = Playbook(gate) >> request_headers(token=token(claims(org="other")))
    known: Json = {"reason": "Authorization", "error": "not_allowed:authorization.allow", "jwt.sub": "ann"}
    assert play << rejects(403, PERMISSION, re.compile("may not use this gateway"), **known)


@pytest.mark.parametrize(
    ("model", "more", "message", "reason"),
    [
        ("claude-gold", {}, "model: this token may not use claude-gold", "ModelNotAllowed"),
        ("claude-gold", {"tier": "tin"}, "model: this token may not use claude-gold", "ModelNotAllowed"),
        ("claude-forbidden", {}, "model: this token may not use claude-forbidden", "ModelNotAllowed"),
    ],
)
def test_models_of_others(gate: Gateway, model: str, more: dict[str, Any], message: str, reason: str) -> None:
    play = admitted(gate, **more) >> request_body(ASK | {"model": model})
    assert play << rejects(403, PERMISSION, message, reason=reason)


def test_a_model_of_ones_own(gate: Gateway) -> None:
    body = ASK | {"model": "claude-gold"}
    assert admitted(gate, tier="gold") >> request_body(body) << forwards({"model": "gpt-4o"})


@pytest.mark.parametrize("model", ["mistral", "claude-" + "x" * 300, "claude"])
def test_an_unknown_model(gate: Gateway, model: str) -> None:
    play = admitted(gate) >> request_body(ASK | {"model": model})
    assert play << rejects(404, "not_found_error", "model: " + model[:200], reason="ModelNotFound")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", re.compile("^the body is not valid JSON")),
        (b"[]", "the body is not a JSON object"),
        (b'{"a":' * 5000, re.compile("^the body is not valid JSON")),
        (b'{"a":"\xff"}', re.compile("^the body is not valid JSON")),
        (b"{}", "model: Field required"),
        (b'{"model":["x"]}', "model: Input should be a valid string"),
        (b'{"model":"claude-x"}', re.compile("Field required")),
    ],
)
def test_bad_bodies(gate: Gateway, body: bytes, message: Any) -> None:
    assert admitted(gate) >> request_body(body) << rejects(400, INVALID, message, reason="InvalidRequest")


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        (request_headers("/v2/x", token=token()), 404, "not_found_error"),
        (request_headers("/v1/messages", "GET", token=token()), 405, INVALID),
        (request_headers("/v1/models", "POST", token=token(), anthropic_version="1"), 405, INVALID),
        (request_headers(token=token(), content_encoding="gzip"), 415, INVALID),
        (request_headers(token=token(), content_type="text/plain"), 415, INVALID),
        (request_headers(token=token(), content_length="999999999999"), 413, "request_too_large"),
        (request_headers(token=token(), content_length="9" * 5000), 413, "request_too_large"),
        (request_headers(token=token(), end=True), 400, INVALID),
    ],
)
def test_refused_at_the_headers(gate: Gateway, headers: Any, status: int, kind: str) -> None:
    assert Playbook(gate) >> headers << rejects(status, kind)


@pytest.mark.parametrize("path", ["/v2/x", "/v1/models", "/"])
def test_a_stranger_is_told_nothing_about_paths(gate: Gateway, path: str) -> None:
    play = Playbook(gate) >> request_headers(path, "GET", anthropic_version="1")
    assert play << rejects(401, AUTHENTICATION_ERROR)


def test_probes_need_no_token(gate: Gateway) -> None:
    assert Playbook(gate) >> request_headers("/", "HEAD", end=True) << answers("")


def test_only_the_forwarded_request_holds_the_providers_key(gate: Gateway) -> None:
    play = admitted(gate)
    told = "\n".join(play._told)
    play >> request_body(ASK) << forwards({}, {"authorization": f"Bearer {KEY}"})
    assert KEY not in told


def test_upstream_headers_are_chosen(gate: Gateway) -> None:
    secret: Json = {
        "x_api_key": token(),
        "cookie": "a=b",
        "x_forwarded_host": "h",
        "anthropic_beta": "b",
        "traceparent": "t",
    }
    play = Playbook(gate) >> request_headers(content_length="77", accept_encoding="br", **secret) << awaits()
    play >> request_body(ASK)
    [action] = play._pending
    assert not set(action.remove_headers) & set(action.set_headers)  # type: ignore[union-attr]
    gone = ["anthropic-beta", "cookie", "x-api-key", "x-forwarded-host"]
    sent = {"accept-encoding": "identity", "user-agent": "llm-extproc", "content-length": str(len(action.body))}  # type: ignore[union-attr]
    assert play << {**forwards({}, sent), "remove_headers": gone}


def test_defaults_and_overrides_of_a_model(gate: Gateway) -> None:
    asked = {key: value for key, value in ASK.items() if key != "max_tokens"} | {"model": "claude-tuned"}
    play = admitted(gate) >> request_body(asked)
    assert play << forwards({"temperature": 0.5, "max_tokens": ABSENT, "max_completion_tokens": 9, "top_p": 0.25})
    asked |= {"temperature": 1, "top_p": 1, "max_tokens": 1000}
    play = admitted(gate) >> request_body(asked)
    sent = {"temperature": 1, "top_p": 0.25, "max_completion_tokens": 50}
    known: Json = {"gen_ai.request.max_tokens": 50}
    assert play << forwards(sent, **known)


def test_counting_asks_nobody(gate: Gateway) -> None:
    play = admitted(gate, "/v1/messages/count_tokens") >> request_body(ASK)
    known: Json = {"gen_ai.operation.name": "count_tokens", "answered": True}
    headers = {"x-translation-warnings": "approx:input_tokens"}
    assert play << answers({"input_tokens": 5}, headers=headers, **known)
    edits: Json = {"edits": [{"type": "clear_tool_uses_20250919"}]}
    play = admitted(gate, "/v1/messages/count_tokens") >> request_body({**ASK, "context_management": edits})
    assert play << answers({"input_tokens": 5, "context_management": {"original_input_tokens": 5}})
    play = admitted(gate, "/v1/messages/count_tokens") >> request_body({"model": "claude-x"})
    assert play << rejects(400, INVALID)
    play = admitted(gate, "/v1/messages/count_tokens") >> request_body({**ASK, "model": "claude-uncounted"})
    assert play << rejects(404, "not_found_error")


@pytest.mark.parametrize(("tier", "names"), [("gold", ["claude-gold", "claude-tuned"]), ("tin", ["claude-tuned"])])
def test_the_list_holds_what_the_caller_may_use(gate: Gateway, tier: str, names: list[str]) -> None:
    headers = request_headers("/v1/models", "GET", token=token(claims(tier=tier)), anthropic_version="1", end=True)
    play = Playbook(gate) >> headers
    known: Json = {"gen_ai.operation.name": "list_models"}
    listed = {"first_id": names[0], "last_id": names[-1], "has_more": False}
    assert play << answers(listed, **known)


def test_a_name_that_only_a_pattern_fits_can_be_asked_for(gate: Gateway) -> None:
    play = Playbook(gate) >> request_headers("/v1/models/claude-sonnet%2D5", "GET", token=token(), end=True)
    assert play << answers({"id": "claude-sonnet-5", "object": "model"}, endpoint="models")


def test_a_model_that_the_caller_may_not_use_is_not_found(gate: Gateway) -> None:
    headers = request_headers("/v1/models/claude-gold", "GET", token=token(claims(tier="tin")), end=True)
    play = Playbook(gate) >> headers
    assert play << {"action": "Respond", "status": 404}


def test_a_client_of_openai_gets_openais_words(gate: Gateway) -> None:
    play = Playbook(gate) >> request_headers("/v1/models/other", "GET", token=token(), end=True)
    expected = {"error": {"code": "model_not_found", "type": INVALID}}
    assert play << {"action": "Respond", "status": 404, "body": expected}


@pytest.mark.parametrize("body", [b"{", b"[]"])
def test_a_body_that_is_no_object_has_no_code(gate: Gateway, body: bytes) -> None:
    refused = {"error": {"type": INVALID, "param": None, "code": None}}
    play = admitted(gate, "/v1/chat/completions") >> request_body(body)
    assert play << {"action": "Respond", "status": 400, "body": refused}


def test_a_broken_configuration_names_all_faults(tmp_path: Path) -> None:
    text = TEXT.replace('jwt.org == "acme"', "jwt.org ==").replace("tier ==", "tier +").replace("kid", "k1d")
    with pytest.raises(Exception, match=r"(?s)authorization.allow.0.*models.0.allow") as found:
        gateway(tmp_path, text.replace("env: OPENAI", "env: NO_SUCH"))
    assert "NO_SUCH_API_KEY is not set or empty" in str(found.value)


@pytest.mark.parametrize(
    ("given", "source"), [("10.0.0.7:80", "10.0.0.7"), ("[2001:db8::1]:80", "2001:db8::1"), ("", ""), ("/a.sock", "")]
)
def test_the_peers_address_has_no_port(gate: Gateway, given: str, source: str) -> None:
    play = Playbook(gate)
    facts = play.exchange.facts
    assert (
        play
        >> RequestHeaders(Headers([(":path", "/v1/messages")]), end=False, source=given)
        << rejects(401, AUTHENTICATION_ERROR)
    )
    assert facts.source == source


@pytest.mark.parametrize("given", ["", "chosen by a client", "6f1c22", "Ä" * 32])
def test_an_id_that_is_not_envoys_is_replaced_by_one_that_is_unique(given: str) -> None:
    first, second = _request_id(given), _request_id(given)
    assert first != second and re.fullmatch("req_[0-9a-f]{24}", first)


def test_claims_that_are_labels_only_go_on_record_too(tmp_path: Path) -> None:
    keys = "records: {claims: [team]}\nmetrics: {port: 9464, claims: [org, team]}\n"
    gate = gateway(tmp_path, TEXT.replace("records: {claims: [team]}\n", keys))
    play = Playbook(gate) >> request_headers(token=token())
    assert play << awaits(**{"caller.team": "data", "caller.org": "acme"})


WEB_SEARCH: Json = {**ASK, "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}]}
ASKS: Json = {
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Perform a web search for the query: q"}]}]
}
SEARCH: Json = {**WEB_SEARCH, **ASKS, "tool_choice": {"type": "tool", "name": "web_search"}}
SEARCH_2_1_330: Json = {**WEB_SEARCH, **ASKS, "tool_choice": {"type": "auto"}}


@pytest.mark.parametrize("body", [SEARCH, {**SEARCH, "tool_choice": {"type": "any"}}, SEARCH_2_1_330])
def test_a_search_of_the_web_that_nobody_can_make_is_answered_for_a_model(gate: Gateway, body: Json) -> None:
    """A refusal would reach the model of Claude Code as the text of an API error."""
    play = admitted(gate, "/v1/messages") >> request_body(body)
    content = [{"type": "text", "text": NOT_AVAILABLE}]
    assert NOT_AVAILABLE.startswith("web search is not available here; use another tool")
    said = {"type": "message", "role": "assistant", "content": content, "stop_reason": "end_turn"}
    assert play << answers(said, headers={"x-translation-warnings": "emulated:tools"})


def test_such_an_answer_is_a_stream_if_one_was_asked_for(gate: Gateway) -> None:
    play = admitted(gate, "/v1/messages") >> request_body({**SEARCH, "stream": True})
    media = {"content-type": "text/event-stream; charset=utf-8"}
    assert play << {"action": "Respond", "status": 200, "headers": media}


def test_another_question_that_must_be_searched_for_is_refused(gate: Gateway) -> None:
    """Its client would take the sentence for an answer."""
    play = admitted(gate, "/v1/messages") >> request_body({**SEARCH, "messages": ASK["messages"]})
    assert play << rejects(400, INVALID)


def test_a_question_that_may_be_answered_without_a_search_is_asked(gate: Gateway) -> None:
    play = admitted(gate, "/v1/messages") >> request_body({**WEB_SEARCH, "tool_choice": {"type": "auto"}})
    assert play << forwards({"model": "gpt-4o-mini"})


def test_counting_the_tokens_of_such_a_search_is_refused(gate: Gateway) -> None:
    play = admitted(gate, "/v1/messages/count_tokens") >> request_body(SEARCH)
    assert play << rejects(400, INVALID)
