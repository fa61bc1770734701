"""The clouds' APIs that the gateway serves, one row each."""

import re

import msgspec

from extproc.errors import Kind
from extproc.wire import Dialect
from extproc.wire.bedrock_api import BEDROCK
from extproc.wire.cloud_api import CloudApi, CloudError, CloudPath, DialectError

_encode = msgspec.json.Encoder().encode

# https://cloud.google.com/apis/design/errors#error_codes
_STATUS: dict[str, tuple[int, str]] = {
    Kind.INVALID_REQUEST: (400, "INVALID_ARGUMENT"),
    Kind.AUTHENTICATION: (401, "UNAUTHENTICATED"),
    Kind.BILLING: (429, "RESOURCE_EXHAUSTED"),
    Kind.PERMISSION: (403, "PERMISSION_DENIED"),
    Kind.NOT_FOUND: (404, "NOT_FOUND"),
    Kind.CONFLICT: (409, "ABORTED"),
    Kind.TOO_LARGE: (413, "INVALID_ARGUMENT"),
    Kind.RATE_LIMIT: (429, "RESOURCE_EXHAUSTED"),
    Kind.TIMEOUT: (504, "DEADLINE_EXCEEDED"),
    Kind.OVERLOADED: (503, "UNAVAILABLE"),
    Kind.API: (500, "INTERNAL"),
}


def _vertex_error(status: int, error: DialectError, _body: bytes) -> CloudError:
    """Google's errors and Claude's, which Vertex passes, in one object: either reader finds its members."""
    known, name = _STATUS.get(error.type, _STATUS[Kind.API if status >= 500 else Kind.INVALID_REQUEST])
    if error.type in (Kind.INVALID_REQUEST, Kind.API) and status >= 400:
        known = status
    body = {"code": known, "message": error.message, "status": name, "type": error.type or str(Kind.API)}
    return CloudError(known, _encode({"type": "error", "error": body}))


def _path(pattern: str, operation: str, dialect: Dialect, *, stream: bool | None = None) -> CloudPath:
    return CloudPath(pattern=re.compile(pattern), operation=operation, dialect=dialect, stream=stream)


_CLAUDE = r"(?:/v1|/v1beta1)?/projects/[^/]+/locations/[^/]+/publishers/anthropic/models"
# https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude
VERTEX = CloudApi(
    name="vertex",
    base="/vertex",
    paths=(
        # Vertex counts tokens at a path like a model's, so this one is looked for first.
        _path(f"{_CLAUDE}/count-tokens:rawPredict", "count_tokens", "messages"),
        _path(f"{_CLAUDE}/(?P<model>[^/]+):rawPredict", "generate", "messages", stream=False),
        _path(f"{_CLAUDE}/(?P<model>[^/]+):streamRawPredict", "generate", "messages", stream=True),
    ),
    error=_vertex_error,
)

_DEPLOYMENT = r"/deployments/(?P<model>[^/]+)"
# https://learn.microsoft.com/azure/ai-foundry/openai/reference: with deployments, and the later API without.
AZURE_OPENAI = CloudApi(
    name="azure-openai",
    base="/openai",
    paths=(
        _path(f"{_DEPLOYMENT}/chat/completions", "generate", "chat"),
        _path(r"(?:/v1)?/chat/completions", "generate", "chat"),
        _path(r"(?:/v1)?/responses", "generate", "responses"),
        _path(r"(?:/v1)?/responses/input_tokens", "count_tokens", "responses"),
        _path(r"(?:/v1)?/models(?:/(?P<model>.+))?", "list_models", "chat"),
    ),
    # Azure's SDKs send a key here, and a token of Entra in `authorization`:
    # https://learn.microsoft.com/azure/ai-foundry/openai/reference#authentication.
    key_header="api-key",
)

# Messages as Anthropic serves it, but for AWS's signature and names of models:
# https://platform.claude.com/docs/en/build-with-claude/claude-in-amazon-bedrock
BEDROCK_MANTLE = CloudApi(
    name="bedrock-mantle",
    base="/bedrock-mantle",
    paths=(
        _path(r"(?:/anthropic)?/v1/messages", "generate", "messages"),
        _path(r"(?:/anthropic)?/v1/messages/count_tokens", "count_tokens", "messages"),
    ),
    signed=True,
)

_ROWS = (BEDROCK, BEDROCK_MANTLE, VERTEX, AZURE_OPENAI)


def rows() -> tuple[CloudApi, ...]:
    return _ROWS


def names() -> tuple[str, ...]:
    return tuple(row.name for row in _ROWS)


def at(path: str) -> CloudApi | None:
    """Returns the API that is served below the beginning of this path, whether it has such a path or not."""
    return next((row for row in _ROWS if path.startswith(f"{row.base}/")), None)


def row(name: str) -> CloudApi | None:
    return next((row for row in _ROWS if row.name == name), None)
