"""Answers that pass: the same bytes, whatever the cuts, and what is known of them afterwards."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.errors import Reason
from extproc.translate.pair import Pair, Usage
from tests.translate.answers import DONE, USAGE, chunk, vectors
from tests.translate.passing import CHAT, JSON, MESSAGES, SSE, asked, played, recorded

FAILS = {
    "empty": (502, Reason.TRUNCATED),
    "error-event-first": (500, Reason.UPSTREAM),
    "error-event-mid-stream": (529, Reason.UPSTREAM),
    "no-message-start": (502, Reason.TRUNCATED),
    "only-message-start": (502, Reason.TRUNCATED),
    "truncated": (502, Reason.TRUNCATED),
    "stop-null": None,
}
STREAMS = recorded("sse")
CHATS = [vector for vector in vectors("stream_c2m", "chat_stream->messages_stream") if "sse" in vector["input"]]
START = b'event: message_start\ndata: {"type":"message_start","message":{"model":"c","usage":{"input_tokens":3}}}\n\n'
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def stem(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", [path for path in STREAMS if path.stem not in FAILS], ids=stem)
def test_streams_pass(path: Path) -> None:
    raw = path.read_bytes()
    out, outcome = played(MESSAGES, raw, media=JSON if path.stem == "wrong-content-type" else SSE)
    assert out == raw and outcome.complete and outcome.failure is None
    assert outcome.media == SSE


@pytest.mark.parametrize("path", STREAMS, ids=stem)
def test_cuts_change_nothing(path: Path) -> None:
    raw = path.read_bytes()
    whole = played(MESSAGES, raw)
    for at in range(0, len(raw), 1 + len(raw) // 400):
        assert played(MESSAGES, raw[:at], raw[at:]) == whole
    assert played(MESSAGES, *(raw[i : i + 1] for i in range(len(raw)))) == whole


@pytest.mark.parametrize("name", [name for name, failure in FAILS.items() if failure])
def test_failures(name: str) -> None:
    raw = next(path for path in STREAMS if path.stem == name).read_bytes()
    out, outcome = played(MESSAGES, raw)
    assert outcome.failure is not None and not outcome.complete
    assert (outcome.failure.http_status, outcome.failure.reason) == FAILS[name]
    events = [json.loads(part.split(b"data: ")[1]) for part in out.split(b"\n\n")[:-1]]
    assert events[-1]["type"] == "error" and raw.startswith(out[: out.index(b"event: error")])


def test_what_is_read_of_a_message_stream() -> None:
    raw = (Path(__file__).parents[2] / "data" / "messages" / "usage-only-in-message-delta.sse").read_bytes()
    _, outcome = played(MESSAGES, raw)
    assert outcome.model.startswith("claude-") and outcome.finish_reason == "end_turn"
    assert outcome.usage is not None and outcome.usage.input_tokens > 0 and outcome.usage.output_tokens > 0


def delta(usage: Any, reason: str | None = "end_turn") -> bytes:
    body = {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}
    return b"event: message_delta\ndata: " + json.dumps(body).encode() + b"\n\n"


def test_counts_are_replaced_by_later_ones_that_are_counts() -> None:
    told = {
        "input_tokens": None, "output_tokens": 9, "cache_read_input_tokens": 4, "cache_creation_input_tokens": "x",
        "output_tokens_details": {"thinking_tokens": 2},
    }  # fmt: skip
    _, outcome = played(MESSAGES, START, delta({"output_tokens": 1}, None), delta(told), STOP)
    assert outcome.usage == Usage(input_tokens=3, output_tokens=9, cache_read_input_tokens=4, thinking_tokens=2)


def test_nothing_is_passed_before_the_first_event() -> None:
    reply = MESSAGES.reply(asked(MESSAGES), SSE)
    assert reply.feed(b': hi\n\nevent: ping\ndata: {"type": "ping"}\n\n') == b""
    assert reply.ping() == b": keep-alive\n\n"
    assert reply.feed(START[:9]) == b""
    assert reply.feed(START[9:]) == b': hi\n\nevent: ping\ndata: {"type": "ping"}\n\n' + START
    assert reply.ping() == b'event: ping\ndata: {"type":"ping"}\n\n'
    assert reply.feed(delta({}) + STOP[:9]) == delta({})


def test_secrets_in_an_error_event() -> None:
    error = {"type": "error", "error": {"type": "api_error", "message": "key sk-ant-abcdef at 10.0.0.7:8080"}}
    raw = b"event: error\ndata: " + json.dumps(error).encode() + b"\n\n"
    out, outcome = played(MESSAGES, START, raw)
    assert outcome.failure is not None and b"10.0.0.7" not in out and b"sk-ant" not in out
    assert out.removeprefix(START).startswith(b"event: error\n") and b"[key]" in out


@pytest.mark.parametrize("pair", [MESSAGES, CHAT])
@pytest.mark.parametrize(
    "body", [b"", b" ", b"<html>", b"oops", b"[]", b"{}", b'{"error":{"message":"m"}}', b'{"type":"error"}', b'"x"']
)
@pytest.mark.parametrize("media", [JSON, SSE, "text/html"])
def test_no_answer_is_no_success(pair: Pair, body: bytes, media: str) -> None:
    _, outcome = played(pair, body, media=media)
    assert outcome.failure is not None and outcome.failure.http_status >= 500 and not outcome.complete


@pytest.mark.parametrize("path", recorded("json"), ids=stem)
def test_whole_messages(path: Path) -> None:
    raw = path.read_bytes()
    out, outcome = played(MESSAGES, raw[:50], raw[50:], media=JSON)
    assert outcome.media == JSON
    if path.stem.startswith("error-"):
        assert outcome.failure is not None and out == b""
    else:
        assert (out, outcome.complete, outcome.model) == (raw, True, "claude-mock")


@pytest.mark.parametrize(
    ("raw", "count"), [(b'{"input_tokens": 5}', 5), (b"{}", None), (b'{"input_tokens": "x"}', None)]
)
def test_a_count_of_tokens(raw: bytes, count: int | None) -> None:
    counting = msgspec.structs.replace(asked(MESSAGES, {"stream": False}), counting=True)
    out, outcome = played(MESSAGES, raw, media=JSON, of=counting)
    assert (out, outcome.complete) == ((b"", False) if count is None else (raw, True))
    assert outcome.usage == (None if count is None else Usage(input_tokens=count))
    assert (outcome.failure is None) == outcome.complete


CHAT_ANSWER = {
    "model": "gpt-x",
    "choices": [{"index": 0, "message": {"content": "é"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
}


def test_whole_chat_answers() -> None:
    raw = json.dumps(CHAT_ANSWER, indent=1).encode().replace(b'"index": 0', b'"index": NaN')
    out, outcome = played(CHAT, raw, media=JSON)
    assert out == raw and (outcome.model, outcome.finish_reason) == ("gpt-x", "stop")
    assert outcome.usage == Usage(input_tokens=5, output_tokens=2, cache_read_input_tokens=4)


SHOWN = asked(CHAT, {"stream_options": {"include_usage": True}})


@pytest.mark.parametrize("vector", CHATS, ids=lambda vector: str(vector["name"]))
def test_chat_streams(vector: dict[str, Any]) -> None:
    raw = vector["input"]["sse"].encode()
    whole, outcome = played(CHAT, raw, of=SHOWN)
    assert (whole == raw) == outcome.complete or raw.startswith(whole[: whole.rindex(b'data: {"error"')])
    for at in range(0, len(raw), 1 + len(raw) // 400):
        assert played(CHAT, raw[:at], raw[at:], of=SHOWN) == (whole, outcome)


def test_the_usage_we_asked_for_is_not_shown() -> None:
    body = chunk({"content": "x"}) + chunk(finish="stop")
    usage = b"data: " + json.dumps({"id": "c", "choices": [], "usage": USAGE}).encode() + b"\n\n"
    out, outcome = played(CHAT, body + usage + DONE)
    assert out == body + DONE and outcome.usage == Usage(input_tokens=3, output_tokens=2)
    assert played(CHAT, body + usage + DONE, of=SHOWN)[0] == body + usage + DONE
    beside = chunk(finish="stop", usage=USAGE)
    assert played(CHAT, beside + DONE)[0] == beside + DONE


@pytest.mark.parametrize(
    ("raw", "complete"),
    [
        (chunk({"content": "x"}), False),
        (chunk({"content": "x"}) + chunk(finish="stop"), True),
        (chunk({"content": "x"}) + DONE, True),
        (chunk({"content": "x"}) + chunk(finish="stop")[:-1], True),
        (chunk({"content": "x"}) + chunk(finish="stop")[:-9], False),
        (DONE, False),
    ],
)
def test_where_a_chat_stream_ends(raw: bytes, complete: bool) -> None:
    out, outcome = played(CHAT, raw)
    assert outcome.complete == complete
    assert complete == (b'{"error":{"message":' not in out) and out.endswith(b"\n\n")
    if not complete and outcome.model:
        assert outcome.failure is not None and outcome.failure.reason is Reason.TRUNCATED


def test_a_truncated_stream_may_count_as_complete() -> None:
    lenient = asked(CHAT, on_truncated="end_turn")
    assert played(CHAT, chunk({"content": "x"}), of=lenient)[1].complete


def test_every_choice_has_its_end() -> None:
    two = asked(CHAT, {"n": 2})
    assert played(CHAT, chunk(finish="stop"), of=two)[1].failure is not None
    other = chunk(finish="length").replace(b'"index": 0', b'"index": 1')
    assert played(CHAT, chunk(finish="stop"), other, of=two)[1].finish_reason == "stop"


@pytest.mark.parametrize(
    "error",
    [
        b'data: {"error":{"message":"m","code":"server_is_overloaded"}}\n\n',
        b'data: [{"error":{"message":"m","code":503}}]\n\n',
        b'event: error\ndata: {"message":"m","code":"slow_down"}\n\n',
    ],
)
def test_errors_in_a_chat_stream(error: bytes) -> None:
    out, outcome = played(CHAT, chunk({"content": "x"}), error, chunk(finish="stop"))
    assert out == chunk({"content": "x"}) + error
    assert outcome.failure is not None and outcome.failure.http_status == 529
    assert not outcome.complete


@pytest.mark.parametrize(
    ("pair", "first", "error"),
    [
        (
            MESSAGES,
            START,
            b'event: error\ndata: {"type":"error","error":{"type":"authentication_error","message":"w"}}\n\n',
        ),
        (CHAT, chunk({"content": "x"}), b'data: {"error":{"message":"w","code":"invalid_api_key"}}\n\n'),
    ],
)
def test_our_credential_is_our_business(pair: Pair, first: bytes, error: bytes) -> None:
    assert played(pair, first, error)[0] == first + error
    out, outcome = played(pair, first, error, of=asked(pair, hide_upstream_auth=True))
    assert b'"w"' not in out and b"gateway credential rejected" in out
    assert outcome.failure is not None and outcome.failure.http_status == 500


def test_too_large() -> None:
    small = asked(CHAT, max_event_bytes=100)
    out, outcome = played(CHAT, chunk({"content": "x"}), b"data: " + b"x" * 100, of=small)
    assert outcome.failure is not None and out.startswith(chunk({"content": "x"}) + b'data: {"error"')


PARTS = st.sampled_from(
    [START, STOP, DONE, delta({}), chunk({"content": "x"}), chunk(finish="stop"), b"\r\n", b"\r", b"\n\n", b":", b"{}",
     b"data: ", b"event: error\n", b'{"type":"message_start","message":', b"[DONE]", b"\xff", b'"usage":{"a":1}}', b"<"]
)  # fmt: skip


@given(
    st.lists(PARTS | st.binary(max_size=5), max_size=8), st.sampled_from([MESSAGES, CHAT]), st.sampled_from([SSE, JSON])
)
def test_any_bytes_end_in_an_answer_or_a_failure(parts: list[bytes], pair: Pair, media: str) -> None:
    _, outcome = played(pair, *parts, media=media)
    assert outcome.complete == (outcome.failure is None)


WORDS = [chunk({"content": "one "}), chunk({"content": "two "}), chunk({"content": "three"})]


def test_what_was_used_is_estimated_until_the_provider_says_it() -> None:
    of = asked(CHAT)
    reply = CHAT.reply(of, SSE)
    reply.feed(b"".join(WORDS))
    guessed = Usage(input_tokens=(of.size + 3) // 4, output_tokens=3, estimated=True, reported=False)
    assert reply.outcome.usage == guessed
    reply.feed(chunk(None, "stop", usage=USAGE) + DONE)
    assert reply.outcome.usage == Usage(input_tokens=3, output_tokens=2)


@pytest.mark.parametrize("missing", ["estimate", "zero"])
def test_an_answer_that_breaks_off_has_an_estimate(missing: str) -> None:
    _, outcome = played(CHAT, *WORDS, of=asked(CHAT, missing_usage=missing))
    assert outcome.failure is not None
    assert (outcome.usage is not None and outcome.usage.output_tokens == 3) == (missing == "estimate")


def test_a_first_count_of_output_is_not_the_last() -> None:
    """Anthropic says 1 at the start."""
    delta = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{}}\n\n'
    start = START.replace(b'"input_tokens":3', b'"input_tokens":3,"output_tokens":1')
    _, outcome = played(MESSAGES, start, delta * 4)
    assert outcome.failure is not None and outcome.usage == Usage(input_tokens=3, output_tokens=5, estimated=True)


def test_the_usage_that_groq_puts_elsewhere() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    _, outcome = played(CHAT, chunk({"content": "Hi"}), chunk({}, "stop", x_groq={"usage": usage}), DONE)
    assert outcome.usage == Usage(input_tokens=9, output_tokens=3)


def test_an_error_line_becomes_an_error_that_clients_read() -> None:
    """llama.cpp's server writes it in the midst of a stream; OpenAI's SDK skips fields that it does not know."""
    line = b'error: {"code":500,"message":"Compute error.","type":"server_error"}\n\n'
    out, outcome = played(CHAT, chunk({"content": "Hi"}), line)
    assert outcome.failure is not None and outcome.failure.http_status == 500
    last = out.split(b"\n\n")[-2]
    assert json.loads(last.removeprefix(b"data: "))["error"]["message"] == "Compute error."
