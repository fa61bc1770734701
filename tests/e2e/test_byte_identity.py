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
from tests.translate.same_dialect.test_reply import FAILS

MESSAGES, COUNT, CHAT = "/v1/messages", "/v1/messages/count_tokens", "/v1/chat/completions"
OF_CHAT = captured(CHAT)
members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def written(body: Json) -> bytes:
    """As nobody else would write it, so that it shows when somebody has."""
    return json.dumps(body, ensure_ascii=False, separators=(" ,", ": ")).encode()


def same_but(received: str, sent: bytes, *names: str) -> dict[str, Any]:
    """Every other member is there in its place with its bytes; gives those that may differ."""
    came, went = members.decode(received), members.decode(sent)
    rest = [[(key, bytes(raw)) for key, raw in found.items() if key not in names] for found in (came, went)]
    assert rest[0] == rest[1]
    return {name: msgspec.json.decode(came[name]) for name in names if name in came}


def check_records(stack: Stack, answers: list[tuple[str, httpx.Response]]) -> None:
    """Of requests that were asked for a model; all at once, as the log comes in bursts."""
    for model, answer in answers:
        line = stack.record(answer)
        assert (line["gen_ai.request.model"], line["http.status"]) == (model, answer.status_code)
        assert line["reason"] == (None if answer.status_code == 200 else "Upstream")
        unmetered = line["gen_ai.request.stream"] and line["endpoint"] == "chat"
        assert answer.status_code != 200 or unmetered or line["gen_ai.usage.input_tokens"] > 0


def test_the_recordings_are_there() -> None:
    assert len(captured(MESSAGES)) >= 65 and len(captured(COUNT)) >= 1 and len(OF_CHAT) >= 8


@pytest.mark.parametrize("path", [MESSAGES, COUNT])
def test_messages_arrive_byte_for_byte(passing: Stack, providers: Providers, path: str) -> None:
    answers = []
    for name, body, headers in captured(path):
        sent = {key: value for key, value in headers.items() if key in ("anthropic-version", "anthropic-beta")}
        with providers.asking("anthropic") as asked:
            answers.append((body["model"], passing.call(written(body), path=f"{path}?beta=true", headers=sent)))
        assert asked[0]["body"].encode() == written(body), name
        received = headers_of(asked[0])
        assert {key: received.get(key) for key in sent} == sent, name
    check_records(passing, answers)


@pytest.mark.parametrize("path", [MESSAGES, COUNT])
def test_messages_arrive_member_for_member_at_a_pinned_model(
    one_claude: Stack, providers: Providers, path: str
) -> None:
    answers = []
    for _, body, _ in captured(path):
        with providers.asking("anthropic") as asked:
            answers.append((body["model"], one_claude.call(written(body), path=path)))
        assert same_but(asked[0]["body"], written(body), "model") == {"model": PINNED}
    check_records(one_claude, answers)


def test_chat_arrives_byte_for_byte(special: Special, providers: Providers) -> None:
    answers = []
    for name, body, _ in OF_CHAT:
        with providers.asking("openai") as asked:
            answers.append((body["model"], chat(special.stack, written(body))))
        assert asked[0]["body"].encode() == written(body) and asked[0]["path"] == CHAT, name
    assert {answer.status_code for _, answer in answers} == {200}
    check_records(special.stack, answers)


def test_chat_arrives_member_for_member_at_a_pinned_model(special: Special, providers: Providers) -> None:
    for _, body, _ in OF_CHAT:
        raw = written({**body, "model": ""})
        with providers.asking("openai") as asked:
            assert chat(special.stack, raw).status_code == 200
        assert same_but(asked[0]["body"], raw, "model") == {"model": "gpt-4o"}


def test_a_metered_stream_asks_for_its_usage(three: Stack, providers: Providers) -> None:
    for name, body, _ in OF_CHAT:
        streams, wanted = body.get("stream"), bool((body.get("stream_options") or {}).get("include_usage"))
        with providers.asking("openai") as asked:
            answer = chat(three, written(body))
        expected = {"stream_options": {"include_usage": True}} if streams else {}
        assert same_but(asked[0]["body"], written(body), "stream_options") == expected, name
        assert (b'"usage":{' in answer.content) == (wanted or not streams), name
        assert three.record(answer)["gen_ai.usage.output_tokens"] > 0


ANSWERS = [path for path in (*recorded("sse"), *recorded("json")) if path.stem not in FAILS]


@pytest.mark.parametrize("suffix", [".sse", ".json"])
def test_answers_pass_byte_for_byte(special: Special, suffix: str) -> None:
    recording, stream = special.recording, suffix == ".sse"
    recording.media = "text/event-stream" if stream else "application/json"
    answers = []
    for path in ANSWERS:
        if path.suffix == suffix and not path.stem.startswith("error-"):
            recording.body = path.read_bytes()
            answers.append(special.stack.call(prompt("hello", model="claude-recorded", stream=stream)))
            assert (answers[-1].status_code, answers[-1].content) == (200, recording.body), path.stem
    for answer in answers:
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
    assert [line[f"gen_ai.usage.{name}"] for name in names] == [11 + 33 + 22, 44, 33, 22]
    assert line["gen_ai.request.model"] == line["gen_ai.upstream.model"] == "claude-recorded"
    assert line["gen_ai.response.model"] == "claude-of-today"
    assert line["gen_ai.response.finish_reasons"] == "pause_turn"
    assert 0 < line["gen_ai.server.time_to_first_token"] * 1000 <= line["duration"] + 1
