"""Path -> operation and dialect: what a caller may ask for (DESIGN 4, routes)."""

from enum import StrEnum
from typing import Literal

import msgspec

from extproc.events import Headers

Dialect = Literal["messages", "chat"]


class Operation(StrEnum):
    GENERATE = "generate"
    COUNT_TOKENS = "count_tokens"
    LIST_MODELS = "list_models"
    PROBE = "probe"


class Endpoint(msgspec.Struct, frozen=True):
    name: str
    operation: Operation
    dialect: Dialect
    method: str


_MESSAGES = Endpoint("messages", Operation.GENERATE, "messages", "POST")
_COUNT_TOKENS = Endpoint("count_tokens", Operation.COUNT_TOKENS, "messages", "POST")
_MODELS = Endpoint("models", Operation.LIST_MODELS, "messages", "GET")
_PROBE = Endpoint("probe", Operation.PROBE, "messages", "HEAD")

ENDPOINTS: dict[str, Endpoint] = {
    "/v1/messages": _MESSAGES,
    "/v1/messages/count_tokens": _COUNT_TOKENS,
    "/v1/models": _MODELS,
    "/anthropic": _MESSAGES,
    "/anthropic/v1/messages": _MESSAGES,
    "/anthropic/v1/messages/count_tokens": _COUNT_TOKENS,
    "/anthropic/v1/models": _MODELS,
}

# Claude Code asks these before anything else, without a credential, and only wants an answer.
PROBES: dict[str, Endpoint] = {"/": _PROBE, "/api/hello": _PROBE}


def find(method: str, path: str) -> Endpoint | None:
    """`path` without its query. The caller checks the method of what is found."""
    if method == "HEAD" and path in PROBES:
        return PROBES[path]
    if path.startswith(("/v1/models/", "/anthropic/v1/models/")):
        return _MODELS
    return ENDPOINTS.get(path)


def dialect_of(path: str, headers: Headers) -> Dialect:
    """The dialect a refusal is worded in where no endpoint says it: as the path, else the headers suggest."""
    if path.startswith(("/v1/messages", "/anthropic")) or headers.get("anthropic-version"):
        return "messages"
    if path.startswith(("/v1/chat/", "/v1/responses", "/v1/embeddings")):
        return "chat"
    if path.startswith("/v1/models"):
        only_api_key = headers.get("x-api-key") and not headers.get("authorization")
        return "messages" if only_api_key else "chat"
    openai = "openai" in headers.get("user-agent").lower() or headers.get("openai-organization")
    return "chat" if openai else "messages"
