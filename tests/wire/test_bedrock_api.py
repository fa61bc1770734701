"""Errors, streams and lists in the forms in which AWS's own SDK reads them."""

import base64
import json
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import EventStreamJSONParser

from extproc.errors import Kind, Rejection
from extproc.wire import messages
from extproc.wire.bedrock_api import BEDROCK
from extproc.wire.cloud_api import DialectError

RUNTIME = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"))
EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"content": []}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "é\n"}},
    {"type": "message_stop"},
]
SSE = b"".join(messages.event(str(event["type"]), event) for event in EVENTS)


def framed(*pieces: bytes) -> bytes:
    assert BEDROCK.stream is not None
    frames = BEDROCK.stream()
    return b"".join(frames.write(piece, end=False) for piece in pieces) + frames.write(b"", end=True)


def parsed(raw: bytes) -> list[dict[str, Any]]:
    """Returns the events of a stream, exceptions as `{name: message}`."""
    buffer, parser = EventStreamBuffer(), EventStreamJSONParser()
    buffer.add_data(raw)
    found = []
    for event in buffer:
        one = event.to_response_dict()
        read = parser.parse(one, RUNTIME.shape_for("ResponseStream"))
        if one["status_code"] != 200:
            found.append({read["Error"]["Code"]: read["Error"]["Message"]})
        elif "chunk" in read:
            found.append(json.loads(read["chunk"]["bytes"]))
        else:
            found.append(read)
    return found


def test_each_event_is_a_chunk() -> None:
    assert parsed(framed(SSE)) == EVENTS


def test_every_cut_gives_the_same_frames() -> None:
    whole = framed(SSE)
    assert framed(*(SSE[n : n + 1] for n in range(len(SSE)))) == whole
    assert all(framed(SSE[:cut], SSE[cut:]) == whole for cut in range(len(SSE)))


@pytest.mark.parametrize("ping", [messages.PING, messages.KEEP_ALIVE])
def test_a_ping_is_an_event_that_sdks_skip(ping: bytes) -> None:
    raw = framed(ping)
    assert raw and all("chunk" not in event for event in parsed(raw))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Kind.RATE_LIMIT, "throttlingException"),
        (Kind.OVERLOADED, "serviceUnavailableException"),
        (Kind.TIMEOUT, "modelTimeoutException"),
        (Kind.INVALID_REQUEST, "validationException"),
        (Kind.API, "modelStreamErrorException"),
        (Kind.PERMISSION, "modelStreamErrorException"),
    ],
)
def test_an_error_is_an_exception(kind: Kind, name: str) -> None:
    [*events, last] = parsed(framed(SSE[:-1], b"\n" + messages.error_event(kind, "it broke")))
    assert (events, last) == (EVENTS, {name: "it broke"})
    assert name in RUNTIME.shape_for("ResponseStream").members


def test_an_error_that_cannot_be_read_is_an_exception() -> None:
    assert parsed(framed(b"event: error\ndata: {nonsense\n\n")) == [
        {"modelStreamErrorException": "the model's answer broke off"}
    ]


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_error_is_an_exception(kind: Kind) -> None:
    error = BEDROCK.error(400, DialectError(kind, "because"), b"")
    assert error.headers["x-amzn-errortype"].endswith("Exception")
    assert "because" in json.loads(error.body)["message"]
    assert 400 <= error.status < 600


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (415, DialectError(Kind.INVALID_REQUEST, "x"), (415, "ValidationException")),
        (529, DialectError(Kind.OVERLOADED, "x"), (503, "ServiceUnavailableException")),
        (503, DialectError(Kind.API, "x"), (503, "ServiceUnavailableException")),
        (502, DialectError(Kind.API, "x"), (500, "InternalServerException")),
        (401, DialectError(Kind.AUTHENTICATION, "invalid credential"), (401, "UnrecognizedClientException")),
        (401, DialectError(Kind.AUTHENTICATION, "credential expired"), (401, "ExpiredTokenException")),
        (418, DialectError("of_tomorrow", "x"), (400, "ValidationException")),
        (500, DialectError(), (500, "InternalServerException")),
    ],
)
def test_statuses(status: int, error: DialectError, expected: tuple[int, str]) -> None:
    found = BEDROCK.error(status, error, b"")
    assert (found.status, found.headers["x-amzn-errortype"]) == expected


def test_a_refusal_has_the_words_by_which_clients_give_up() -> None:
    body = json.loads(BEDROCK.error(403, DialectError(Kind.PERMISSION, "not for you"), b"").body)
    assert body == {"message": "the caller is not authorized to perform: bedrock:InvokeModel (not for you)"}


def test_counting() -> None:
    inner = b'{"messages":[]}'
    body = json.dumps({"input": {"invokeModel": {"body": base64.b64encode(inner).decode()}}}).encode()
    assert BEDROCK.count_request(body) == inner
    assert BEDROCK.count_answer(b'{"input_tokens":7,"more":1}') == b'{"inputTokens":7}'
    assert BEDROCK.count_answer(b"nonsense") == b"nonsense"


@pytest.mark.parametrize("body", [b"{", b"{}", b'{"input":{"converse":{}}}', b'{"input":{"invokeModel":{"body":"?"}}}'])
def test_what_cannot_be_counted_is_refused(body: bytes) -> None:
    refused = BEDROCK.count_request(body)
    assert isinstance(refused, Rejection) and refused.path.startswith("input")


def shape_members(service: str, shape: str) -> set[str]:
    return set(ServiceModel(Loader().load_service_model(service, "service-2")).shape_for(shape).members)


@pytest.mark.parametrize(
    ("path", "shape", "member"),
    [
        ("/bedrock/inference-profiles", "InferenceProfileSummary", "inferenceProfileSummaries"),
        ("/bedrock/foundation-models", "FoundationModelSummary", "modelSummaries"),
    ],
)
def test_lists_have_members_that_aws_knows(path: str, shape: str, member: str) -> None:
    assert BEDROCK.list_answer is not None
    [claude, other] = json.loads(BEDROCK.list_answer(["claude-sonnet-5", "qwen"], path))[member]
    assert set(claude) <= shape_members("bedrock", shape)
    ids = [entry.get("inferenceProfileId") or entry["modelId"] for entry in (claude, other)]
    assert ids == ["anthropic.claude-sonnet-5", "qwen"]


@pytest.mark.parametrize("member", ["inferenceProfileName", "modelDetails"])
def test_one_model(member: str) -> None:
    assert BEDROCK.list_answer is not None
    kind = "inference-profiles" if member == "inferenceProfileName" else "foundation-models"
    assert member in json.loads(BEDROCK.list_answer(["claude-sonnet-5"], f"/bedrock/{kind}/claude-sonnet-5"))


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/model/x/invoke", ("generate", False, "x")),
        ("/model/x/invoke-with-response-stream", ("generate", True, "x")),
        ("/model/x:0/count-tokens", ("count_tokens", None, "x:0")),
        ("/model/arn:aws:a/b/invoke", ("generate", False, "arn:aws:a/b")),
        ("/model/a%20b/invoke", ("generate", False, "a b")),
        ("/inference-profiles", ("list_models", None, "")),
        ("/inference-profiles/arn:aws:a/b", ("list_models", None, "arn:aws:a/b")),
        ("/foundation-models/x", ("list_models", None, "x")),
        ("/model/x/converse", None),
        ("/model//invoke", None),
        ("/model/invoke", None),
        ("/guardrail/x", None),
    ],
)
def test_paths(path: str, found: tuple[str, bool | None, str] | None) -> None:
    entry = BEDROCK.find(path)
    assert (entry and (entry[0].operation, entry[0].stream, entry[1])) == found
