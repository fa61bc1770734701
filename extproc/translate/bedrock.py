"""Answers of Amazon Bedrock's InvokeModel: Claude's events in AWS event-stream frames, and AWS's errors.

A frame of the kind `chunk` holds one event of the Messages API in Base64; others are exceptions, by name
(https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ResponseStream.html).
"""

import base64
import re
from typing import Any

import msgspec

from extproc.errors import STATUS, Kind
from extproc.translate.answer_body import Collected, loads_or_none
from extproc.translate.pair import Headers, Reader, Refusal, Reply, Translated
from extproc.translate.provider_error import failure
from extproc.wire import untrusted
from extproc.wire.event_stream import CONTENT_TYPE, Corrupt, EventStreamDecoder, Message
from extproc.wire.lenient import Undecodable, decode, loads

_SSE = "text/event-stream"
_MAX_COUNT = 64 * 1024
# A guardrail puts text of its own in the place of Claude's, and adds this member:
# https://docs.aws.amazon.com/bedrock/latest/userguide/guardrails.html.
_INTERVENED = re.compile(rb'"amazon-bedrock-guardrailAction"\s*:\s*"INTERVENED"')
_REFUSAL = {"stop_reason": "refusal", "stop_sequence": None}
"""Members of an answer that a guardrail has replaced."""

# By the names of https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html and of botocore's model.
_KINDS: dict[str, Kind] = {
    "throttling": Kind.RATE_LIMIT,
    "servicequotaexceeded": Kind.RATE_LIMIT,
    "toomanyrequests": Kind.RATE_LIMIT,
    "modelnotready": Kind.OVERLOADED,
    "serviceunavailable": Kind.OVERLOADED,
    "modeltimeout": Kind.TIMEOUT,
    "validation": Kind.INVALID_REQUEST,
    "serialization": Kind.INVALID_REQUEST,
    "resourcenotfound": Kind.NOT_FOUND,
    "conflict": Kind.CONFLICT,
    "accessdenied": Kind.PERMISSION,
    "unrecognizedclient": Kind.AUTHENTICATION,
    "invalidsignature": Kind.AUTHENTICATION,
    "signaturedoesnotmatch": Kind.AUTHENTICATION,
    "expiredtoken": Kind.AUTHENTICATION,
    "missingauthenticationtoken": Kind.AUTHENTICATION,
    "incompletesignature": Kind.AUTHENTICATION,
    "invalidclienttokenid": Kind.AUTHENTICATION,
    "internalserver": Kind.API,
    "modelerror": Kind.API,
    "modelstreamerror": Kind.API,
}
_BY_STATUS: dict[int, Kind] = {status: kind for kind, status in STATUS.items()} | {
    # InvokeModel's own: the model took too long (408) or failed (424), which is not the request's fault.
    408: Kind.TIMEOUT,
    424: Kind.API,
    503: Kind.OVERLOADED,
}
# AWS names the caller and the resource, and so account and role.
_WITHHELD = {
    Kind.PERMISSION: "the gateway's credential may not use this model",
    Kind.AUTHENTICATION: "the gateway's credential was refused",
}
# The number of an AWS account has twelve digits.
_ARN = re.compile(r"\barn:[a-z0-9-]+:[^\s\"',]+|\b\d{12}\b")


class Chunk(msgspec.Struct):
    bytes: str = ""


class Kinded(msgspec.Struct):
    type: str = ""


class Problem(msgspec.Struct):
    message: str | None = None
    upper: str | None = msgspec.field(default=None, name="Message")
    """The same, of some services and of the front end."""
    type: str | None = msgspec.field(default=None, name="__type")
    error: dict[str, Any] | None = None


class Counted(msgspec.Struct):
    tokens: int | None = msgspec.field(default=None, name="inputTokens")


_chunk = untrusted.decoder(Chunk)
_kinded = untrusted.decoder(Kinded)
_problem = untrusted.decoder(Problem)
_counted = untrusted.decoder(Counted)


class BedrockReader:
    """A Reader (pair.py)."""

    def __init__(self, inner: Reader, max_event_bytes: int) -> None:
        self._inner = inner
        self._max_event_bytes = max_event_bytes

    def reply(self, asked: Translated, content_type: str) -> Reply:
        if content_type.partition(";")[0].strip().lower() == CONTENT_TYPE:
            return BedrockStream(self._inner.reply(asked, _SSE), self._max_event_bytes)
        inner = self._inner.reply(asked, content_type)
        return BedrockCount(inner) if asked.counting else BedrockMessage(inner, asked.model)

    def error(self, asked: Translated, status: int, headers: Headers, body: bytes, now: float) -> Refusal:
        kind, message = read_error(status, headers.get("x-amzn-errortype", ""), body)
        # SDKs choose the exception by the status, and AWS has others: 424 for a model that failed, for one.
        return self._inner.error(asked, STATUS[kind], _with_id(headers), _error(kind, message), now)

    def headers(self, headers: Headers, now: float) -> dict[str, str]:
        return self._inner.headers(_with_id(headers), now)


def _with_id(headers: Headers) -> Headers:
    # SDKs show the id of a failed call by the headers of their own vendor, not by AWS's.
    request_id = headers.get("x-amzn-requestid")
    return {**headers, "request-id": request_id, "x-request-id": request_id} if request_id else headers


def read_error(status: int, error_type: str, body: bytes) -> tuple[Kind, str]:
    """Returns the kind and the message for the client, without account and role. `error_type`: the header
    `x-amzn-errortype`, which may have a URL behind a colon."""
    try:
        problem = decode(body, _problem)
    except Undecodable:
        problem = Problem()
    # In the body the name may stand behind its namespace and a `#`:
    # https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization
    name = error_type.partition(":")[0] or (problem.type or "").rpartition("#")[2]
    kind = _KINDS.get(_plain(name)) or _BY_STATUS.get(status) or (Kind.API if status >= 500 else Kind.INVALID_REQUEST)
    inner = (problem.error or {}).get("message")
    message = problem.message or problem.upper or (inner if isinstance(inner, str) else "")
    return kind, _message(kind, message)


def _plain(name: str) -> str:
    """`ThrottlingException` and `throttlingException` are the same."""
    return name.strip().lower().removesuffix("exception")


def _message(kind: Kind, message: str) -> str:
    """Returns what the client may read of it."""
    return _WITHHELD.get(kind) or _ARN.sub("[resource]", message) or "the model's provider reported an error"


def _error(kind: Kind, message: str) -> bytes:
    return msgspec.json.encode({"type": "error", "error": {"type": str(kind), "message": message}})


class _Unwrapped:
    """The part of a Reply (pair.py) that stays as it is."""

    def __init__(self, inner: Reply) -> None:
        self._inner = inner
        self.outcome = inner.outcome

    def ping(self) -> bytes:
        return self._inner.ping()


class BedrockStream(_Unwrapped):
    """Turns frames into the server-sent events that they stand for."""

    def __init__(self, inner: Reply, max_event_bytes: int) -> None:
        super().__init__(inner)
        # In Base64, in JSON, in a frame.
        self._frames = EventStreamDecoder(2 * max_event_bytes)
        self._intervened = False

    def feed(self, data: bytes) -> bytes:
        events = b"".join(map(self._event, self._frames.feed(data)))
        return self._inner.feed(events) if events else b""

    def close(self) -> bytes:
        events = b"".join(map(self._event, self._frames.close()))
        out = self._inner.feed(events) if events and not self._inner.outcome.complete else b""
        return out + self._inner.close()

    def _event(self, message: Message | Corrupt) -> bytes:
        """Returns the server-sent event that a frame stands for; empty for one that says nothing to a client."""
        if isinstance(message, Corrupt):
            return _failed(Kind.API, "the provider's event stream cannot be read")
        match message.headers.get(":message-type"):
            case "event":
                return self._chunk(message) if message.headers.get(":event-type") == "chunk" else b""
            # The status was 200 when the stream began; what goes wrong later comes as a frame.
            case "exception":
                name = str(message.headers.get(":exception-type", ""))
                return _failed(*read_error(500, name, message.payload))
            case _:  # "error": what is no exception of the service's model
                kind = _KINDS.get(_plain(str(message.headers.get(":error-code", ""))), Kind.API)
                return _failed(kind, _message(kind, str(message.headers.get(":error-message", ""))))

    def _chunk(self, message: Message) -> bytes:
        try:
            data = base64.b64decode(decode(message.payload, _chunk).bytes, validate=True)
            kind = decode(data, _kinded).type
        except (Undecodable, ValueError):
            return _failed(Kind.API, "an event of the provider's stream cannot be read")
        self._intervened = self._intervened or _INTERVENED.search(data) is not None
        if self._intervened and kind == "message_delta":
            data = _with_refusal(data)
        # A line of SSE ends with either, so the JSON is written anew without them.
        elif b"\n" in data or b"\r" in data:
            data = msgspec.json.encode(loads(data))
        # A frame has the data alone; Anthropic's SDK skips an event without a name.
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def _failed(kind: Kind, message: str) -> bytes:
    return b"event: error\ndata: %b\n\n" % _error(kind, message)


def _with_refusal(data: bytes) -> bytes:
    event = loads(data)
    delta = event.get("delta")
    return msgspec.json.encode({**event, "delta": {**(delta if isinstance(delta, dict) else {}), **_REFUSAL}})


class BedrockMessage(_Unwrapped):
    """A whole answer."""

    def __init__(self, inner: Reply, model: str) -> None:
        """`model`: the client's name for it."""
        super().__init__(inner)
        self._model = model
        self._body: Collected[bytes] = Collected(self._read, self._too_large, b"")

    def feed(self, data: bytes) -> bytes:
        return self._body.feed(data)

    def close(self) -> bytes:
        out = self._body.close()
        return out if self.outcome.failure is not None else out + self._inner.close()

    def _too_large(self) -> bytes:
        self.outcome.failure = failure("the upstream's answer is too large", "answer_limit")
        return b""

    def _read(self, body: bytes) -> bytes:
        if _INTERVENED.search(body):
            body = _completed(body, self._model)
        return self._inner.feed(body) if body else b""


def _completed(body: bytes, model: str) -> bytes:
    """A message that a guardrail has put in the place of the model's lacks what a client relies on."""
    message = loads_or_none(body)
    if not isinstance(message, dict) or message.get("type") != "message":
        return body
    usage = {"input_tokens": 0, "output_tokens": 0}
    known = {"id": "msg_guardrail", "model": model, "usage": usage, **message}
    return msgspec.json.encode({**known, **_REFUSAL})


class BedrockCount(_Unwrapped):
    """The number of tokens, in Anthropic's words."""

    def __init__(self, inner: Reply) -> None:
        super().__init__(inner)
        self._body = b""

    def feed(self, data: bytes) -> bytes:
        self._body = (self._body + data)[:_MAX_COUNT]
        return b""

    def close(self) -> bytes:
        try:
            tokens = decode(self._body, _counted).tokens
        except Undecodable:
            tokens = None
        body = self._body if tokens is None else msgspec.json.encode({"input_tokens": tokens})
        return self._inner.feed(body) + self._inner.close()
