"""Claude as Amazon Bedrock serves it: InvokeModel, InvokeModelWithResponseStream, CountTokens, and lists of models.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html
"""

import base64
import binascii
import re

import msgspec

from extproc.errors import Kind, Rejection, invalid
from extproc.wire import untrusted
from extproc.wire.cloud_api import CloudApi, CloudError, CloudPath, DialectError
from extproc.wire.event_stream import CONTENT_TYPE, encode
from extproc.wire.sse import SseDecoder, SseKind

_JSON = "application/json"
_CHUNK = {":event-type": "chunk", ":content-type": _JSON, ":message-type": "event"}
# The SDKs skip events of a type that they do not know; a `ping` of Anthropic's own in a chunk is too early for
# the JavaScript SDK before `message_start`.
_PING = encode({":event-type": "ping", ":content-type": _JSON, ":message-type": "event"}, b"{}")


class _Error(msgspec.Struct):
    error: DialectError = DialectError()


class _InvokeModel(msgspec.Struct):
    body: str


class _CountInput(msgspec.Struct, rename="camel"):
    invoke_model: _InvokeModel


class _CountRequest(msgspec.Struct):
    input: _CountInput


class _Counted(msgspec.Struct):
    input_tokens: int


_error_event = untrusted.decoder(_Error)
_count_request = untrusted.decoder(_CountRequest)
_counted = untrusted.decoder(_Counted)
_encode = msgspec.json.Encoder().encode

# Kind -> status and exception. AWS answers 403 to a wrong credential; Claude Code repeats a call for minutes then.
_EXCEPTIONS: dict[str, tuple[int, str]] = {
    Kind.INVALID_REQUEST: (400, "ValidationException"),
    Kind.AUTHENTICATION: (401, "UnrecognizedClientException"),
    Kind.BILLING: (400, "ServiceQuotaExceededException"),
    Kind.PERMISSION: (403, "AccessDeniedException"),
    Kind.NOT_FOUND: (404, "ResourceNotFoundException"),
    Kind.CONFLICT: (409, "ConflictException"),
    Kind.TOO_LARGE: (413, "ValidationException"),
    Kind.RATE_LIMIT: (429, "ThrottlingException"),
    Kind.TIMEOUT: (408, "ModelTimeoutException"),
    Kind.OVERLOADED: (503, "ServiceUnavailableException"),
    Kind.API: (500, "InternalServerException"),
}
_IN_STREAM: dict[str, str] = {
    Kind.INVALID_REQUEST: "validationException",
    Kind.RATE_LIMIT: "throttlingException",
    Kind.TIMEOUT: "modelTimeoutException",
    Kind.OVERLOADED: "serviceUnavailableException",
}
"""All others are `modelStreamErrorException`."""
_EXPIRED = "credential expired"
_DENIED = "the caller is not authorized to perform: bedrock:InvokeModel"
"""AWS's words, by which Claude Code knows that a 403 will not go away."""


def _error(status: int, error: DialectError, _body: bytes) -> CloudError:
    """Other statuses of invalid requests (405, 415) stay; SDKs choose their exceptions by status and exception name."""
    known, exception = _EXCEPTIONS.get(error.type, _EXCEPTIONS[Kind.API if status >= 500 else Kind.INVALID_REQUEST])
    if error.type == Kind.INVALID_REQUEST and 400 <= status < 500:
        known = status
    if error.type == Kind.API and status == 503:
        known, exception = _EXCEPTIONS[Kind.OVERLOADED]
    if exception == "UnrecognizedClientException" and error.message == _EXPIRED:
        exception = "ExpiredTokenException"
    message = f"{_DENIED} ({error.message})" if error.type == Kind.PERMISSION else error.message
    # SDKs take the exception's name from this header:
    # https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization
    return CloudError(known, _encode({"message": message}), {"x-amzn-errortype": exception})


class _Frames:
    """A Messages stream in frames: each event in a `chunk`, an error as an exception."""

    def __init__(self) -> None:
        self._events = SseDecoder()

    def write(self, data: bytes, *, end: bool) -> bytes:
        events = [*self._events.feed(data), *(self._events.close() if end else ())]
        return b"".join(_frame(event.kind, event.name, event.data) for event in events)


def _frame(kind: SseKind, name: str, data: bytes) -> bytes:
    if kind is SseKind.COMMENT or name == "ping":
        return _PING
    if kind is SseKind.OVERFLOW:
        return _exception(DialectError(Kind.API, "the model's answer is too large"))
    if name == "error":
        return _exception(_read_error(data))
    # The event is a member in Base64, as AWS writes every blob in JSON:
    # https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_PayloadPart.html.
    return encode(_CHUNK, b'{"bytes":"%b"}' % base64.b64encode(data))


def _read_error(data: bytes) -> DialectError:
    try:
        return _error_event.decode(data).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return DialectError(Kind.API, "the model's answer broke off")


def _exception(error: DialectError) -> bytes:
    name = _IN_STREAM.get(error.type, "modelStreamErrorException")
    headers = {":exception-type": name, ":content-type": _JSON, ":message-type": "exception"}
    return encode(headers, _encode({"message": error.message}))


def _count_body(raw: bytes) -> bytes | Rejection:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html"""
    try:
        body = _count_request.decode(raw).input.invoke_model.body
        return base64.b64decode(body, validate=True)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return invalid("input", "expected the body of a call as input.invokeModel.body")
    except (binascii.Error, ValueError):
        return invalid("input.invokeModel.body", "Input should be valid base64")


def _count_answer(body: bytes) -> bytes:
    try:
        return _encode({"inputTokens": _counted.decode(body).input_tokens})
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body


# Claude Code looks only at ids with `anthropic` in them.
def _id(name: str) -> str:
    return f"anthropic.{name}" if name.startswith("claude") else name


def _profile(name: str) -> dict[str, object]:
    arn = "arn:aws:bedrock:::inference-profile/" + _id(name)
    return {
        "inferenceProfileId": _id(name),
        "inferenceProfileArn": arn,
        "inferenceProfileName": name,
        "models": [{"modelArn": "arn:aws:bedrock:::foundation-model/" + _id(name)}],
        "status": "ACTIVE",
        "type": "SYSTEM_DEFINED",
    }


def _model(name: str) -> dict[str, object]:
    return {
        "modelId": _id(name),
        "modelArn": "arn:aws:bedrock:::foundation-model/" + _id(name),
        "modelName": name,
        "providerName": "Anthropic" if name.startswith("claude") else "",
        "inputModalities": ["TEXT"],
        "outputModalities": ["TEXT"],
        "responseStreamingSupported": True,
        "inferenceTypesSupported": ["ON_DEMAND"],
        "modelLifecycle": {"status": "ACTIVE"},
    }


def _list(names: list[str], path: str) -> bytes:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_ListInferenceProfiles.html"""
    if path.endswith("/inference-profiles"):
        return _encode({"inferenceProfileSummaries": [_profile(name) for name in names]})
    if path.endswith("/foundation-models"):
        return _encode({"modelSummaries": [_model(name) for name in names]})
    if "/inference-profiles/" in path:
        return _encode(_profile(names[0]))
    return _encode({"modelDetails": _model(names[0])})


def _path(pattern: str, operation: str, stream: bool | None = None) -> CloudPath:
    return CloudPath(pattern=re.compile(pattern), operation=operation, dialect="messages", stream=stream)


BEDROCK = CloudApi(
    name="bedrock",
    base="/bedrock",
    # An ARN has a slash, which Envoy decodes.
    paths=(
        _path(r"/model/(?P<model>.+)/invoke", "generate", stream=False),
        _path(r"/model/(?P<model>.+)/invoke-with-response-stream", "generate", stream=True),
        _path(r"/model/(?P<model>.+)/count-tokens", "count_tokens"),
        _path(r"/(?:inference-profiles|foundation-models)(?:/(?P<model>.+))?", "list_models"),
    ),
    # To AWS the body is a blob, so that some of its clients name no type of their own.
    media=frozenset({_JSON, "application/octet-stream"}),
    signed=True,
    count_request=_count_body,
    count_answer=_count_answer,
    list_answer=_list,
    error=_error,
    stream_media=CONTENT_TYPE,
    stream=_Frames,
    # AWS's SDKs show this id in their exceptions.
    headers=lambda request_id: {"x-amzn-requestid": request_id},
)
