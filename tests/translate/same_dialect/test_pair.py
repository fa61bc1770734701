"""What a client sends passes as it is, save what has to change."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.errors import Rejection
from extproc.translate.pair import Pair
from extproc.translate.same_dialect.reply import Passed
from extproc.translate.signature import seal
from extproc.wire import Dialect, dialects
from tests.translate.passing import CHAT, HELLO, MESSAGES, ask, captured, target

CALLS = [(MESSAGES, *call) for call in captured("/v1/messages")] + [
    (CHAT, *call) for call in captured("/v1/chat/completions")
]
FORMS: list[dict[str, Any]] = [{"separators": (",", ":")}, {}, {"indent": 2}, {"ensure_ascii": False}]


def as_sent(body: Any, form: dict[str, Any]) -> bytes:
    return json.dumps(body, **form).encode()


def test_there_are_requests() -> None:
    assert {pair for pair, *_ in CALLS} == {MESSAGES, CHAT}


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize(("pair", "name", "body", "headers"), CALLS, ids=[call[1] for call in CALLS])
def test_byte_for_byte(
    pair: Pair, name: str, body: dict[str, Any], headers: dict[str, str], form: dict[str, Any]
) -> None:
    raw = as_sent(body, form)
    passed = ask(pair, raw, model=body["model"], meter_usage=False, headers=headers)
    assert passed.body == raw and not passed.warnings
    assert (passed.stream, passed.model) == (body.get("stream") is True, body["model"])
    assert passed.max_tokens == body.get("max_tokens", body.get("max_completion_tokens"))
    if pair is MESSAGES:
        kept = {name: headers[name] for name in ("anthropic-version", "anthropic-beta") if name in headers}
        assert passed.headers == kept


@pytest.mark.parametrize(("pair", "name", "body", "headers"), CALLS, ids=[call[1] for call in CALLS])
def test_only_the_model_changes(pair: Pair, name: str, body: dict[str, Any], headers: dict[str, str]) -> None:
    passed = ask(pair, as_sent(body, {}), model="other", meter_usage=False)
    assert json.loads(passed.body) == {**body, "model": "other"}
    assert list(json.loads(passed.body)) == list(body)
    for member, value in body.items():
        assert member == "model" or f'"{member}":{json.dumps(value)}'.encode() in passed.body


@pytest.mark.parametrize("model", ["", None])
def test_no_name_takes_the_configured_one(model: str | None) -> None:
    body = {key: value for key, value in HELLO.items() if key != "model"} | ({} if model is None else {"model": model})
    translated = MESSAGES.request({**body, "model": "pinned"}, target(json.dumps(body).encode(), model="pinned"))
    assert isinstance(translated, Passed) and json.loads(translated.body) == {**HELLO, "model": "pinned"}


def test_settings() -> None:
    passed = ask(MESSAGES, b'{"model":"m","temperature": 1.50}', settings={"max_tokens": 7, "service_tier": "auto"})
    assert passed.body == b'{"model":"m","temperature":1.50,"max_tokens":7,"service_tier":"auto"}'
    assert passed.max_tokens == 7


def test_a_setting_the_body_has_already_changes_nothing() -> None:
    raw = b'{"model": "m", "max_tokens": 7}'
    assert ask(MESSAGES, raw, settings={"max_tokens": 7}).body == raw


def test_extra_and_limit_of_the_profile() -> None:
    passed = ask(CHAT, b'{"model":"m","max_tokens":900}', extra={"store": False}, max_output_tokens=800)
    assert json.loads(passed.body) == {"model": "m", "max_tokens": 800, "store": False}
    assert passed.warnings == ("clamped:max_tokens",)
    body = {"model": "m", "max_tokens": 900}
    assert isinstance(CHAT.request(body, target(max_output_tokens=8, strictness="strict")), Rejection)


@pytest.mark.parametrize("pair", [MESSAGES, CHAT])
@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"dear","model":"m"}',
        b'{"mod\\u0065l":"dear","model":"m"}',
        b'{"model":"m" , "stream" : true, "stream":false }',
        b'{"model":"m","messages":[],"messages":[]              }',
    ],
)
def test_a_name_that_stands_twice_is_refused(pair: Pair, raw: bytes) -> None:
    refused = pair.request(json.loads(raw), target(raw))
    assert isinstance(refused, Rejection) and "given twice" in refused.message


def test_a_name_with_escapes_is_sent_without() -> None:
    assert ask(MESSAGES, b'{"mod\\u0065l":"m"}').body == b'{"model":"m"}'


def test_within_a_member_nothing_is_looked_at() -> None:
    raw = b'{"model":"m","metadata":{"a":1,"a":2}}'
    assert ask(MESSAGES, raw).body == raw


@pytest.mark.parametrize("name", ["Model", "MODEL", "Max_Tokens", "tool\u017f", "Models", "api_base", "Fallbacks"])
@pytest.mark.parametrize("mode", ["pass", "drop", "refuse"])
def test_a_name_that_may_be_taken_for_another_is_refused(name: str, mode: str) -> None:
    raw = json.dumps({"model": "m", name: "dear"}).encode()
    refused = MESSAGES.request(json.loads(raw), target(raw, unknown_members=mode))
    assert isinstance(refused, Rejection) and refused.http_status == 400


@pytest.mark.parametrize("pair", [MESSAGES, CHAT])
def test_unknown_members(pair: Pair) -> None:
    raw = b'{"model":"m", "x": 1.50, "y,z": {}, "top_k": 5}'
    passed = ask(pair, raw)
    assert (passed.body, passed.warnings) == (b'{"model":"m","top_k":5}', ("dropped:x", "dropped:y_z"))
    assert ask(pair, raw, unknown_members="pass").body == raw
    for profile in (target(raw, unknown_members="refuse"), target(raw, strictness="strict")):
        refused = pair.request(json.loads(raw), profile)
        assert isinstance(refused, Rejection) and refused.path == "x"


def test_more_members_in_one() -> None:
    raw = b'{"model":"m","extra_body":{"google":{"x":1}}}'
    assert ask(CHAT, raw, unknown_members="pass").body == raw
    assert ask(CHAT, raw).body == b'{"model":"m"}'
    for inner in ('"model"', '"Models"', '"api_base"'):
        steering = b'{"model":"m","extra_body":{%s:"x"}}' % inner.encode()
        assert isinstance(CHAT.request(json.loads(steering), target(steering, unknown_members="pass")), Rejection)


def test_members_of_the_configuration_are_known() -> None:
    passed = ask(CHAT, b'{"model":"m"}', settings={"x": 1}, extra={"models": ["b"]}, unknown_members="refuse")
    assert json.loads(passed.body) == {"model": "m", "models": ["b"], "x": 1}


@pytest.mark.parametrize(
    ("value", "sent"), [(5, 5), (8.0, 8.0), (9, 8), (9.5, 8), (1e300, 8), (None, None), (-1, -1), (0, 0)]
)
def test_a_limit_holds_for_every_number(value: Any, sent: Any) -> None:
    passed = ask(CHAT, json.dumps({"model": "m", "max_tokens": value}).encode(), max_output_tokens=8)
    assert json.loads(passed.body)["max_tokens"] == sent


@pytest.mark.parametrize("value", ["9", "x", True, [9], {"a": 9}])
def test_what_is_no_number_passes_no_limit(value: Any) -> None:
    raw = json.dumps({"model": "m", "max_tokens": value}).encode()
    assert isinstance(CHAT.request(json.loads(raw), target(raw, max_output_tokens=8)), Rejection)
    assert ask(CHAT, raw).body == raw


def test_whose_version() -> None:
    named = {"anthropic-version": "2024-01-01", "anthropic-beta": "a,b", "authorization": "no", "x-api-key": "no"}
    kept = {"anthropic-version": "2024-01-01", "anthropic-beta": "a,b"}
    assert ask(MESSAGES, b'{"model":"m"}', headers=named).headers == kept
    own = ask(MESSAGES, b'{"model":"m"}', headers=named, version_from="profile").headers
    assert own == {**kept, "anthropic-version": "2023-06-01"}
    assert ask(MESSAGES, b'{"model":"m"}').headers == {"anthropic-version": "2023-06-01"}
    assert ask(CHAT, b'{"model":"m"}', headers=named).headers == {}


OURS = {"type": "thinking", "thinking": "t", "signature": seal("reasoning", text="t")}
HIDDEN = {"type": "redacted_thinking", "data": seal("reasoning", text="t")}
CLAUDES = {"type": "thinking", "thinking": "t", "signature": "EqQB"}
TEXT = {"type": "text", "text": "atr1. is a prefix", "x": 1.50}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "t", "input": {"signature": "atr1.x"}}
USER: dict[str, Any] = {"role": "user", "content": "atr1.q"}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "atr1."}]}


def history(*turns: Any, **more: Any) -> tuple[list[Any], Passed]:
    raw = json.dumps({"model": "m", "messages": [*turns], **more}).encode()
    passed = ask(MESSAGES, raw)
    return json.loads(passed.body)["messages"], passed


def turn(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": [*blocks]}


def test_our_thinking_is_taken_out() -> None:
    left, passed = history(USER, turn(OURS, CLAUDES, HIDDEN, TEXT, CALL), RESULT)
    assert left == [USER, turn(CLAUDES, TEXT, CALL), RESULT]
    assert passed.warnings == ("dropped:messages.1.content.0", "dropped:messages.1.content.2")
    assert json.dumps(TEXT).encode() in passed.body and json.dumps(RESULT).encode() in passed.body


def test_thinking_that_was_left_out_refuses_no_request() -> None:
    """A session that has moved to another provider would end there."""
    raw = json.dumps({"model": "m", "messages": [USER, turn(OURS, TEXT), USER]}).encode()
    passed = ask(MESSAGES, raw, strictness="strict")
    assert json.loads(passed.body)["messages"] == [USER, turn(TEXT), USER]


def test_nothing_of_ours_nothing_changes() -> None:
    turns = [USER, turn(CLAUDES, TEXT, CALL), RESULT]
    raw = json.dumps({"model": "m", "messages": turns}).encode()
    assert ask(MESSAGES, raw).body == raw


def test_a_turn_of_which_nothing_is_left_goes() -> None:
    left, _ = history(USER, {"role": "assistant", "content": [OURS]}, USER)
    assert left == [USER, USER]


@pytest.mark.parametrize(
    ("turns", "removed", "thinks"),
    [
        ([turn(OURS, CALL), RESULT], "1.content.0", False),
        ([turn(CLAUDES, OURS, CALL), RESULT], "1.content.1", True),
        ([turn(OURS, TEXT), USER], "1.content.0", True),
        ([turn(OURS, CALL), RESULT, turn(TEXT)], "1.content.0", True),
        # Claude's own answer to a request from which `thinking` was removed.
        ([turn(OURS, CALL), RESULT, turn(CALL), RESULT], "1.content.0", False),
        ([turn(OURS, CALL), RESULT, turn(CLAUDES, CALL), RESULT], "1.content.0", True),
    ],
)
def test_a_budget_needs_thinking_before_the_last_calls(turns: list[Any], removed: str, thinks: bool) -> None:
    _, passed = history(USER, *turns, thinking={"type": "enabled", "budget_tokens": 1024})
    assert ("thinking" in json.loads(passed.body)) == thinks
    assert passed.warnings == (f"dropped:messages.{removed}", *(() if thinks else ("dropped:thinking",)))


@pytest.mark.parametrize(
    "messages", ["atr1.", 1, [1, "atr1."], [["atr1."]], [{"content": [{"signature": "atr1.", "type": 1}]}]]
)
def test_what_is_malformed_is_the_providers_to_refuse(messages: Any) -> None:
    raw = json.dumps({"model": "m", "messages": messages}).encode()
    assert ask(MESSAGES, raw).body == raw


def stream_options(body: dict[str, Any], **more: Any) -> Any:
    passed = ask(CHAT, json.dumps({"model": "m", **body}).encode(), **more)
    return json.loads(passed.body).get("stream_options"), passed.hide_usage


def test_a_streams_usage_is_asked_for() -> None:
    wanted = {"include_usage": True}
    assert stream_options({"stream": True}) == (wanted, True)
    assert stream_options({"stream": True, "stream_options": {"x": 1}}) == ({"x": 1, **wanted}, True)
    assert stream_options({"stream": True, "stream_options": wanted}) == (wanted, False)
    assert stream_options({"stream": False}) == (None, False)
    assert stream_options({"stream": True}, stream_usage=False) == (None, False)
    assert stream_options({"stream": True}, meter_usage=False) == (None, False)
    assert stream_options({"stream": True, "stream_options": 1}) == (1, False)


KEYS = st.sampled_from(["role", "content", "type", "signature", "x"])
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSONS = st.recursive(
    PLAIN | st.text("atr1.é", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(["model", "messages", "max_tokens", "stream", "stream_options", "thinking", "n", "é"])


@given(st.dictionaries(NAMES, JSONS, max_size=5), st.sampled_from([MESSAGES, CHAT]), st.booleans())
def test_any_json_passes_or_is_refused(body: dict[str, Any], pair: Pair, compact: bool) -> None:
    raw = as_sent(body, FORMS[0] if compact else {})
    passed = pair.request({**body, "model": "m"}, target(raw))
    assert isinstance(passed, Passed)
    dialect: Dialect = "messages" if pair is MESSAGES else "chat"
    sent = json.loads(passed.body)
    untouched = (
        (body.keys() & dialects.row(dialect).members)
        - {"model", "stream_options"}
        - ({"messages", "thinking"} if b"atr1." in raw else set())
    )
    assert sent["model"] == "m" and all(sent[name] == body[name] for name in untouched)


@given(st.binary(max_size=60), st.sampled_from([MESSAGES, CHAT]))
def test_any_bytes(raw: bytes, pair: Pair) -> None:
    assert isinstance(pair.request({"model": "m"}, target(raw)), Passed | Rejection)
