"""An answer of a cloud's API, from the request to its last byte."""

import base64
import json
from typing import Any

import pytest

from extproc.events import AnswerBody, BeginAnswer
from extproc.gateway.cloud_answer import CloudAnswer
from extproc.gateway.gateway import Gateway
from extproc.wire import event_stream, messages
from extproc.wire.bedrock_api import BEDROCK
from extproc.wire.cloud_api import CloudCall
from extproc.wire.event_stream import EventStreamDecoder, Message
from tests.issuing import token
from tests.playbook import (
    OUR_ID,
    Json,
    Playbook,
    answers,
    awaits,
    begins,
    forwards,
    request_body,
    request_headers,
    response_body,
    response_headers,
    says,
)
from tests.settings import gateway

MODEL = "/bedrock/model/us.anthropic.claude-sonnet-5-v1:0"
BODY: Json = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "q"}],
}
CHAT: Json = {
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}
PIECE = b'data: {"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"hm "}}]}\n\n'
ENDED = b'data: {"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    return gateway(tmp_path_factory.mktemp("gateway"))


def sent(gate: Gateway, operation: str = "invoke") -> Playbook:
    play = Playbook(gate) >> request_headers(f"{MODEL}/{operation}", token=token()) << awaits()
    return play >> request_body(BODY) << forwards({"model": "gpt-4o-mini"})


def error_type(exception: str) -> dict[str, Any]:
    return {"x-amzn-errortype": exception, "x-amzn-requestid": OUR_ID}


def frames(data: bytes) -> list[Message]:
    found = EventStreamDecoder().feed(data)
    return [message for message in found if isinstance(message, Message)]


def test_json(gate: Gateway) -> None:
    play = sent(gate) >> response_headers() >> response_body(CHAT, end=True)
    play << begins(headers={"content-type": "application/json", "x-amzn-requestid": OUR_ID})
    assert play << says(end=True, body={**body_of(play), "model": "claude-sonnet-5"})


def body_of(play: Playbook) -> Json:
    action = play.pending[0]
    assert isinstance(action, AnswerBody)
    body: Json = json.loads(action.body)
    assert body["content"] == [{"type": "text", "text": "hi"}]
    return body


def test_a_stream(gate: Gateway) -> None:
    play = sent(gate, "invoke-with-response-stream") >> response_headers(content_type="text/event-stream")
    play >> response_body(PIECE) << begins(headers={"content-type": event_stream.CONTENT_TYPE})
    pieces = [play.pending.pop()]
    play >> response_body(ENDED, end=True)
    pieces += play.pending
    data = b"".join(piece.body for piece in pieces if isinstance(piece, AnswerBody))
    chunks = [json.loads(base64.b64decode(json.loads(frame.payload)["bytes"])) for frame in frames(data)]
    assert (chunks[0]["type"], chunks[-1]["type"]) == ("message_start", "message_stop")
    assert "".join(chunk.get("delta", {}).get("text", "") for chunk in chunks) == "hm "


def test_a_stream_that_breaks_ends_with_an_exception(gate: Gateway) -> None:
    play = sent(gate, "invoke-with-response-stream") >> response_headers(content_type="text/event-stream")
    play >> response_body(PIECE) << begins()
    play.pending.clear()
    play >> response_body(b"", end=True)
    [last] = play.pending
    assert isinstance(last, AnswerBody) and last.end
    assert frames(last.body)[-1].headers[":exception-type"] == "modelStreamErrorException"


def test_an_error_of_the_provider(gate: Gateway) -> None:
    body = {"error": {"message": "slow down", "type": "rate_limit"}}
    play = sent(gate) >> response_headers(429, retry_after="7") >> response_body(body, end=True)
    play << begins(429, {**error_type("ThrottlingException"), "retry-after": "7"}, reason="Upstream")
    assert play << says(end=True, body={"message": "slow down"})


def test_an_error_without_a_body(gate: Gateway) -> None:
    play = sent(gate) >> response_headers(500, end=True)
    assert play << answers({"message": body_text(play)}, 500, headers=error_type("InternalServerException"))


def body_text(play: Playbook) -> str:
    message: str = json.loads(getattr(play.pending[0], "body", b""))["message"]
    assert message
    return message


@pytest.mark.parametrize("credential", [None, "nonsense"])
def test_a_refusal(gate: Gateway, credential: str | None) -> None:
    play = Playbook(gate) >> request_headers(f"{MODEL}/invoke", token=credential)
    message = "invalid credential" if credential else "missing credential"
    assert play << answers({"message": message}, 401, headers=error_type("UnrecognizedClientException"))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/bedrock/model/m/converse", {"message": "POST /bedrock/model/m/converse: there is no such endpoint"}),
        ("/vertex/v1/x", {"error": {"code": 404, "status": "NOT_FOUND"}}),
        ("/openai/x", {"error": {"code": "unknown_url"}}),
    ],
)
def test_a_path_that_is_not_served(gate: Gateway, path: str, body: Json) -> None:
    assert Playbook(gate) >> request_headers(path, token=token()) << answers(body, 404)


def test_a_bug_in_mid_answer(gate: Gateway) -> None:
    play = sent(gate, "invoke-with-response-stream") >> response_headers(content_type="text/event-stream")
    play >> response_body(PIECE) << begins()
    play.pending.clear()
    [last] = play.fail().pending
    assert isinstance(last, AnswerBody)
    assert frames(last.body)[-1].headers[":message-type"] == "exception"


def test_a_list(gate: Gateway) -> None:
    play = Playbook(gate) >> request_headers("/bedrock/inference-profiles", "GET", token=token(), end=True)
    assert play << answers({"inferenceProfileSummaries": []})
    play = Playbook(gate) >> request_headers("/bedrock/inference-profiles/unknown", "GET", token=token(), end=True)
    assert play << answers({"message": "model: unknown"}, 404, headers=error_type("ResourceNotFoundException"))


def test_half_an_event_waits_for_its_rest() -> None:
    answer = CloudAnswer(CloudCall(BEDROCK, "m", stream=True), OUR_ID)
    answer.changed([BeginAnswer(200, {"content-type": "text/event-stream"}, (), {})])
    assert answer.changed([AnswerBody(messages.MESSAGE_STOP[:9], False, {})]) == []
    [rest] = answer.changed([AnswerBody(messages.MESSAGE_STOP[9:], False, {})])
    assert isinstance(rest, AnswerBody) and frames(rest.body)[0].headers[":event-type"] == "chunk"


def test_a_comment_before_the_first_event_is_a_frame() -> None:
    answer = CloudAnswer(CloudCall(BEDROCK, "m", stream=True), OUR_ID)
    began = BeginAnswer(200, {"content-type": "text/event-stream; charset=utf-8"}, (), {})
    [begin, ping] = answer.changed([began, AnswerBody(messages.KEEP_ALIVE, False, {})])
    assert isinstance(begin, BeginAnswer) and begin.set_headers["content-type"] == event_stream.CONTENT_TYPE
    assert isinstance(ping, AnswerBody) and frames(ping.body)[0].headers[":event-type"] == "ping"
