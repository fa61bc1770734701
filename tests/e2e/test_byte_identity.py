"""A provider of the client's own dialect gets what the client sent, and the client what the provider answered."""

import json
from typing import Any

import httpx
import msgspec
import pytest

from tests.e2e.providers import Providers, Special, chat, headers_of
from tests.e2e.stack import Json, Stack, prompt
from tests.e2e.test_configurations import PINNED
from tests.translate.passing import captured, recorded
from tests.translate.test_identity_answers import FAILS

Captured = tuple[str, dict[str, Any], dict[str, str]]
MESSAGES, COUNT, CHAT = "/v1/messages", "/v1/messages/count_tokens", "/v1/chat/completions"
OF_MESSAGES = [(path, *call) for path in (MESSAGES, COUNT) for call in captured(path)]
OF_CHAT = captured(CHAT)
members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def written(body: Json) -> bytes:
    """As nobody else would write it, so that it shows when somebody has."""
    return json.dumps(body, ensure_ascii=False, separators=(" ,", ": ")).encode()


def same_but(received: bytes, sent: bytes, *names: str) -> dict[str, Any]:
    """Every other member is there in its place with its bytes; gives those that may differ."""
    came, went = members.decode(received), members.decode(sent)
    rest = [[(key, bytes(raw)) for key, raw in found.items() if key not in names] for found in (came, went)]
    assert rest[0] == rest[1]
    return {name: msgspec.json.decode(came[name]) for name in names if name in came}


def test_the_recordings_are_there() -> None:
    assert len(OF_MESSAGES) > 60 and len(OF_CHAT) == 8


def id_of(case: object) -> str:
    return case if isinstance(case, str) else ""


@pytest.mark.parametrize(("path", "name", "body", "headers"), OF_MESSAGES, ids=id_of)
def test_messages_arrive_byte_for_byte(
    passing: Stack, providers: Providers, path: str, name: str, body: Json, headers: dict[str, str]
) -> None:
    raw = written(body)
    sent = {key: headers[key] for key in ("anthropic-version", "anthropic-beta") if key in headers}
    with providers.asking("anthropic") as asked:
        answer = passing.call(raw, path=path + "?beta=true", headers=sent)
    assert asked[0]["body"].encode() == raw
    received = headers_of(asked[0])
    assert {key: received.get(key) for key in sent} == sent
    check_record(passing, answer, body["model"])


@pytest.mark.parametrize(("path", "name", "body", "headers"), OF_MESSAGES, ids=id_of)
def test_messages_arrive_member_for_member_at_a_pinned_model(
    one_claude: Stack, providers: Providers, path: str, name: str, body: Json, headers: dict[str, str]
) -> None:
    raw = written(body)
    with providers.asking("anthropic") as asked:
        answer = one_claude.call(raw, path=path)
    assert same_but(asked[0]["body"].encode(), raw, "model") == {"model": PINNED}
    check_record(one_claude, answer, body["model"])


@pytest.mark.parametrize(("name", "body", "headers"), OF_CHAT, ids=id_of)
def test_chat_arrives_byte_for_byte(
    special: Special, providers: Providers, name: str, body: Json, headers: dict[str, str]
) -> None:
    raw = written(body)
    with providers.asking("openai") as asked:
        answer = chat(special.stack, raw)
    assert asked[0]["body"].encode() == raw and asked[0]["path"] == CHAT
    assert answer.status_code == 200
    check_record(special.stack, answer, "gpt-4o-mini")


@pytest.mark.parametrize(("name", "body", "headers"), OF_CHAT, ids=id_of)
def test_chat_arrives_member_for_member_at_a_pinned_model(
    special: Special, providers: Providers, name: str, body: Json, headers: dict[str, str]
) -> None:
    raw = written({**body, "model": ""})
    with providers.asking("openai") as asked:
        assert chat(special.stack, raw).status_code == 200
    assert same_but(asked[0]["body"].encode(), raw, "model") == {"model": "gpt-4o"}


@pytest.mark.parametrize(("name", "body", "headers"), OF_CHAT, ids=id_of)
def test_a_metered_stream_asks_for_its_usage(
    three: Stack, providers: Providers, name: str, body: Json, headers: dict[str, str]
) -> None:
    raw = written(body)
    with providers.asking("openai") as asked:
        answer = chat(three, raw)
    expected = {"stream_options": {"include_usage": True}} if body.get("stream") else {}
    assert same_but(asked[0]["body"].encode(), raw, "stream_options") == expected
    wanted = bool((body.get("stream_options") or {}).get("include_usage"))
    assert (b'"usage":{' in answer.content) == (wanted or not body.get("stream"))
    assert three.record(answer)["gen_ai.usage.output_tokens"] > 0


def check_record(stack: Stack, answer: httpx.Response, asked: str) -> None:
    line = stack.record(answer)
    assert (line["gen_ai.request.model"], line["http.status"]) == (asked, answer.status_code)
    assert line["reason"] == (None if answer.status_code == 200 else "Upstream")
    assert line["gen_ai.usage.input_tokens"] is not None or line["gen_ai.request.stream"] or answer.status_code != 200


ANSWERS = [path for path in (*recorded("sse"), *recorded("json")) if path.stem not in FAILS]


@pytest.mark.parametrize("path", [path for path in ANSWERS if not path.stem.startswith("error-")], ids=lambda p: p.stem)
def test_an_answer_passes_byte_for_byte(special: Special, path: Any) -> None:
    recording, stream = special.recording, path.suffix == ".sse"
    recording.media, recording.body = "text/event-stream" if stream else "application/json", path.read_bytes()
    answer = special.stack.call(prompt("hello", model="claude-recorded", stream=stream))
    assert (answer.status_code, answer.content) == (200, recording.body)
    line = special.stack.record(answer)
    assert line["reason"] is None and line["gen_ai.server.time_to_first_token"] > 0


USAGE = {
    "input_tokens": 11,
    "cache_creation_input_tokens": 22,
    "cache_read_input_tokens": 33,
    "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 2},
    "output_tokens": 44,
    "service_tier": "priority",
}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-of-today", "content": []}


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def streamed() -> bytes:
    first = {"message": {**MESSAGE, "usage": {**USAGE, "output_tokens": 1}}}
    last = {"delta": {"stop_reason": "pause_turn"}, "usage": {"output_tokens": 44}}
    return event("message_start", **first) + event("message_delta", **last) + event("message_stop")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_what_an_answer_took_is_on_record(special: Special, stream: bool) -> None:
    whole = json.dumps({**MESSAGE, "stop_reason": "pause_turn", "usage": USAGE}, indent=1).encode()
    special.recording.media = "text/event-stream" if stream else "application/json"
    special.recording.body = streamed() if stream else whole
    answer = special.stack.call(prompt("hello", model="claude-recorded", stream=stream))
    assert answer.content == special.recording.body
    line = special.stack.record(answer)
    names = ("input_tokens", "output_tokens", "cache_read.input_tokens", "cache_creation.input_tokens")
    assert [line[f"gen_ai.usage.{name}"] for name in names] == [11, 44, 33, 22]
    assert line["gen_ai.request.model"] == line["gen_ai.upstream.model"] == "claude-recorded"
    assert line["gen_ai.response.model"] == "claude-of-today"
    assert line["gen_ai.response.finish_reasons"] == "pause_turn"
    assert 0 < line["gen_ai.server.time_to_first_token"] * 1000 <= line["duration"] + 1
