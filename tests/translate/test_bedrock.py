"""Frames of Bedrock, however they are cut, give what server-sent events would have given; AWS's errors as values."""

import base64
import json
import random
from typing import Any

import msgspec
import pytest
from botocore.loaders import Loader

from extproc.errors import Kind
from extproc.providers.profiles import Profile
from extproc.translate.bedrock import BedrockReader, read_error
from extproc.translate.pair import Reply
from extproc.translate.same_dialect.messages import messages_on_messages
from extproc.translate.same_dialect.reply import Passed
from extproc.wire.event_stream import CONTENT_TYPE, encode
from tests.e2e.clouds import EVENTS, MESSAGE, chunk, exception

ASKED = Passed(path="/model/m/invoke", body=b"", stream=True, model="claude-x", profile=Profile())
READER = BedrockReader(messages_on_messages, 1 << 20)
STREAM = b"".join(map(chunk, EVENTS))


def reply(content_type: str = CONTENT_TYPE, **changes: Any) -> Reply:
    return READER.reply(msgspec.structs.replace(ASKED, **changes), content_type)


def fed(*pieces: bytes, **changes: Any) -> tuple[bytes, Reply]:
    one = reply(**changes)
    return b"".join(map(one.feed, pieces)) + one.close(), one


def events(out: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in out.decode().splitlines() if line.startswith("data: ")]


def test_every_cut_gives_the_same_events() -> None:
    whole, one = fed(STREAM)
    assert events(whole) == EVENTS and one.outcome.complete
    for at in range(len(STREAM)):
        out, cut = fed(STREAM[:at], STREAM[at:])
        assert (out, cut.outcome) == (whole, one.outcome)
    bytewise, _ = fed(*(STREAM[at : at + 1] for at in range(len(STREAM))))
    assert bytewise == whole


def test_a_stream_that_ends_within_a_frame_is_an_error() -> None:
    for at in range(1, len(STREAM), 7):
        _, one = fed(STREAM[: len(STREAM) - at])
        assert one.outcome.failure is not None or one.outcome.complete
    out, one = fed(STREAM[:-200])
    assert one.outcome.failure is not None and b"event: error" in out


def test_any_damaged_byte_is_found() -> None:
    chance = random.Random(3)
    first = len(chunk(EVENTS[0]))
    for _ in range(100):
        damaged = bytearray(STREAM)
        damaged[chance.randrange(first, first + len(chunk(EVENTS[1])))] ^= 1 << chance.randrange(8)
        _, one = fed(bytes(damaged))
        assert one.outcome.failure is not None and not one.outcome.complete


@pytest.mark.parametrize(
    "frame",
    [
        encode({":message-type": "event", ":event-type": "chunk"}, b"no JSON"),
        encode({":message-type": "event", ":event-type": "chunk"}, b'{"bytes": "%%%"}'),
        encode({":message-type": "event", ":event-type": "chunk"}, b'{"bytes": 5}'),
        encode({":message-type": "exception"}, b""),
        encode({":message-type": "error", ":error-code": "Broken", ":error-message": "no"}, b""),
        encode({}, b"{}"),
    ],
)
def test_frames_that_make_no_sense_are_errors(frame: bytes) -> None:
    out, one = fed(chunk(EVENTS[0]), frame)
    assert one.outcome.failure is not None and one.outcome.failure.http_status >= 500
    assert events(out)[-1]["type"] == "error"


def test_an_event_that_is_new_to_us_is_left_out() -> None:
    new = encode({":message-type": "event", ":event-type": "metadata"}, b"{}")
    out, _ = fed(chunk(EVENTS[0]), new, *map(chunk, EVENTS[1:]))
    assert events(out) == EVENTS


def test_lines_within_an_event_do_not_end_it() -> None:
    payload = json.dumps(EVENTS[2], indent=1).encode()
    data = json.dumps({"bytes": base64.b64encode(payload).decode()}).encode()
    frame = encode({":message-type": "event", ":event-type": "chunk"}, data)
    out, _ = fed(*map(chunk, EVENTS[:2]), frame, *map(chunk, EVENTS[3:]))
    assert events(out) == EVENTS


def test_an_answer_in_one_piece() -> None:
    body = json.dumps(MESSAGE).encode()
    for at in range(len(body)):
        out, one = fed(body[:at], body[at:], content_type="application/json", stream=False)
        assert out == body and one.outcome.complete


def test_a_count() -> None:
    out, one = fed(b'{"inputTokens": 12}', content_type="application/json", counting=True)
    assert json.loads(out) == {"input_tokens": 12} and one.outcome.complete
    _, one = fed(b"<html>", content_type="text/html", counting=True)
    assert one.outcome.failure is not None


@pytest.mark.parametrize(
    ("status", "name", "body", "kind", "message"),
    [
        (429, "ThrottlingException", b'{"message": "slow"}', Kind.RATE_LIMIT, "slow"),
        (429, "ModelNotReadyException", b'{"message": "warming"}', Kind.OVERLOADED, "warming"),
        (400, "", b'{"__type": "com.amazon#ValidationException", "Message": "bad"}', Kind.INVALID_REQUEST, "bad"),
        (
            403,
            "ExpiredTokenException",
            b'{"message": "t"}',
            Kind.AUTHENTICATION,
            "the gateway's credential was refused",
        ),
        (403, "", b"", Kind.PERMISSION, "the gateway's credential may not use this model"),
        (404, "", b'{"error": {"message": "no model 123456789012"}}', Kind.NOT_FOUND, "no model [resource]"),
        (500, "", b"<html>", Kind.API, "the model's provider reported an error"),
        (418, "TeapotException", b'{"message": []}', Kind.INVALID_REQUEST, "the model's provider reported an error"),
    ],
)
def test_errors(status: int, name: str, body: bytes, kind: Kind, message: str) -> None:
    assert read_error(status, name, body) == (kind, message)


def test_all_exceptions_of_the_service_are_known() -> None:
    """Those of botocore's model, with the status that AWS gives them."""
    shapes = Loader().load_service_model("bedrock-runtime", "service-2")["shapes"]
    names = [name for name, shape in shapes.items() if shape.get("exception")]
    assert len(names) > 10
    for name in names:
        assert read_error(599, name, b"{}")[0] == read_error(200, name, b"{}")[0], name
    stream = shapes["ResponseStream"]["members"].keys() - {"chunk"}
    for name in stream:
        out, one = fed(chunk(EVENTS[0]), exception(name, "no"))
        assert one.outcome.failure is not None and events(out)[-1]["error"]["message"] == "no"
