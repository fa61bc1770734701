"""Refusals as values: what went wrong, in one vocabulary. Each dialect has its own form of them at the boundary."""

from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """The kind of an error, by the names of Anthropic's API (https://platform.claude.com/docs/en/api/errors)."""

    INVALID_REQUEST = "invalid_request_error"
    AUTHENTICATION = "authentication_error"
    BILLING = "billing_error"
    PERMISSION = "permission_error"
    NOT_FOUND = "not_found_error"
    CONFLICT = "conflict_error"
    TOO_LARGE = "request_too_large"
    RATE_LIMIT = "rate_limit_error"
    TIMEOUT = "timeout_error"
    OVERLOADED = "overloaded_error"
    API = "api_error"


STATUS: dict[Kind, int] = {
    Kind.INVALID_REQUEST: 400,
    Kind.AUTHENTICATION: 401,
    Kind.BILLING: 402,
    Kind.PERMISSION: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.TOO_LARGE: 413,
    Kind.RATE_LIMIT: 429,
    Kind.API: 500,
    Kind.TIMEOUT: 504,
    Kind.OVERLOADED: 529,
}


class Reason(StrEnum):
    """Why a call did not succeed, for the record; the list is closed."""

    JWT_AUTH = "JwtAuth"
    AUTHORIZATION = "Authorization"
    MODEL_NOT_FOUND = "ModelNotFound"
    MODEL_NOT_ALLOWED = "ModelNotAllowed"
    INVALID_REQUEST = "InvalidRequest"
    REQUEST_TOO_LARGE = "RequestTooLarge"
    UPSTREAM = "Upstream"
    UPSTREAM_TIMEOUT = "UpstreamTimeout"
    UPSTREAM_UNAVAILABLE = "UpstreamUnavailable"
    TRUNCATED = "Truncated"
    CLIENT_CLOSED = "ClientClosed"
    OVERLOADED = "Overloaded"
    BUDGET_EXCEEDED = "BudgetExceeded"
    INTERNAL = "Internal"


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal. `message` goes to the client, so it never holds a secret or a host name;
    `detail` goes to the record only, as a short stable code without blanks."""

    kind: Kind
    message: str
    reason: Reason
    path: str = ""
    """Path of the fault in the client's body, dotted: `messages.2.content.0`."""
    code: str = ""
    """OpenAI's `code` where the dialect has one (mapping 5.3, 5.4)."""
    detail: str = ""
    type: str = ""
    """The provider's own type of the error, which Chat clients get unchanged (mapping 5.3)."""
    status: int = 0
    """0: the status of the kind."""
    headers: tuple[tuple[str, str], ...] = ()
    answer: str = ""
    """A sentence for the model. A Messages client gets it instead of the refusal, as an answer that ends the turn, and
    its tool passes it on to the model."""

    @property
    def http_status(self) -> int:
        return self.status or STATUS[self.kind]


def invalid(path: str, problem: str, *, code: str = "invalid_value", status: int = 0) -> Rejection:
    """Returns a 400 for a mistake of the caller, worded as Anthropic words it: `<path>: <problem>`."""
    message = f"{path}: {problem}" if path else problem
    return Rejection(
        kind=Kind.INVALID_REQUEST,
        message=message,
        reason=Reason.INVALID_REQUEST,
        path=path,
        code=code,
        detail=f"invalid:{path or 'body'}"[:200],
        status=status,
    )


NO_BODY = invalid("", "a JSON body is required")


def unknown_model(name: str) -> Rejection:
    """Returns a 404 for a model that the gateway does not serve."""
    return Rejection(
        kind=Kind.NOT_FOUND,
        message=f"model: {name[:200]}",
        reason=Reason.MODEL_NOT_FOUND,
        path="model",
        code="model_not_found",
        detail="unknown_model",
    )
