"""Responses events as bytes."""

import json

import pytest
from openai.types.responses import ResponseFailedEvent, ResponseTextDeltaEvent

from extproc.errors import Kind, Reason, Rejection
from extproc.wire.rejections import rejection_body, rejection_event, rejection_status
from extproc.wire.responses import Frame, event, failed


def rejection(kind: Kind) -> Rejection:
    return Rejection(kind=kind, message="no", reason=Reason.UPSTREAM)


def data(raw: bytes) -> bytes:
    name, line, *rest = raw.split(b"\n")
    assert rest == [b"", b""] and name.startswith(b"event: ")
    return line.removeprefix(b"data: ")


def test_an_event_is_named_by_its_type() -> None:
    assert event("response.x", 3, {"a": 1}) == (
        b'event: response.x\ndata: {"type":"response.x","sequence_number":3,"a":1}\n\n'
    )


@pytest.mark.parametrize("text", ["hi", '"\n', "é\u2028"])
def test_a_delta(text: str) -> None:
    place = {"item_id": "m", "output_index": 1, "content_index": 0}
    raw = Frame("response.output_text.delta", place, {"logprobs": []}).said(7, text)
    found = ResponseTextDeltaEvent.model_validate_json(data(raw))
    assert (found.delta, found.sequence_number, found.output_index, found.logprobs) == (text, 7, 1, [])
    bare = json.loads(data(Frame("response.x.delta", {"item_id": "m"}, {}).said(0, text)))
    assert bare == {"type": "response.x.delta", "sequence_number": 0, "item_id": "m", "delta": text}


@pytest.mark.parametrize("kind", Kind)
def test_every_failure_has_a_code_of_openais(kind: Kind) -> None:
    found = ResponseFailedEvent.model_validate_json(data(failed(rejection(kind), 4, {"id": "resp_9"})))
    assert (found.sequence_number, found.response.id, found.response.status) == (4, "resp_9", "failed")
    codes = {Kind.RATE_LIMIT: "rate_limit_exceeded", Kind.INVALID_REQUEST: "invalid_prompt"}
    assert found.response.error and found.response.error.code == codes.get(kind, "server_error")


def test_refusals_are_worded_as_for_chat() -> None:
    refused = rejection(Kind.OVERLOADED)
    assert rejection_body("responses", refused, "r") == rejection_body("chat", refused, "r")
    assert rejection_status("responses", refused) == 503
    assert b"event: response.failed\n" in rejection_event("responses", refused)
