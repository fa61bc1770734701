"""A Messages provider's errors as rejections (docs/mapping.md 5.3)."""

import re
from http import HTTPStatus
from typing import Any

import msgspec

from extproc.errors import Kind, Reason, Rejection
from extproc.providers.profiles import Profile
from extproc.translate.provider_error import ProviderError, parse_error, scrubbed

NO_RETRY = (("x-should-retry", "false"),)
_REFUSED_CREDENTIAL = "gateway credential rejected"

_TYPES: dict[str, Kind] = {str(kind): kind for kind in Kind}
_VAGUE = frozenset((Kind.INVALID_REQUEST, Kind.API))
"""A status says more than these types."""
_STATUSES: dict[int, Kind] = {
    401: Kind.AUTHENTICATION,
    402: Kind.BILLING,
    403: Kind.PERMISSION,
    404: Kind.NOT_FOUND,
    408: Kind.TIMEOUT,
    409: Kind.CONFLICT,
    413: Kind.TOO_LARGE,
    429: Kind.RATE_LIMIT,
    504: Kind.TIMEOUT,
    529: Kind.OVERLOADED,
}
_OVERFLOWS = ("prompt is too long", "exceed context limit")
_PATH = re.compile(r"([a-z][a-z0-9_]*(?:\.[A-Za-z0-9_-]+)*): ")


def by_status(status: int, body: bytes, profile: Profile) -> Rejection:
    """An answer whose status says that it is an error. The path is the provider's."""
    error = parse_error(body)
    return _rejection(error, status, profile, _kind(error, status), _phrase(status))


def in_answer(value: Any, profile: Profile) -> Rejection:
    """An error inside an answer of status 200: its type is all there is."""
    error = parse_error(value)
    kind = _TYPES.get(error.type, Kind.API)
    rejection = _rejection(error, 0, profile, kind, "the upstream reported an error")
    return msgspec.structs.replace(rejection, path="")


def _kind(error: ProviderError, status: int) -> Kind:
    """The kind by the error's type, where that says more than the status."""
    by_type = _TYPES.get(error.type)
    if by_type is not None and by_type not in _VAGUE:
        return by_type
    if status in _STATUSES:
        return _STATUSES[status]
    return Kind.INVALID_REQUEST if 400 <= status < 500 else Kind.API


def _rejection(error: ProviderError, status: int, profile: Profile, kind: Kind, otherwise: str) -> Rejection:
    message = scrubbed(error.message) or otherwise
    if kind is Kind.AUTHENTICATION and profile.hide_upstream_auth:
        return Rejection(
            kind=Kind.API,
            message=_REFUSED_CREDENTIAL,
            reason=Reason.UPSTREAM,
            detail="upstream_credential_rejected",
            headers=NO_RETRY,
        )
    code, path = _code_and_path(kind, message)
    return Rejection(
        kind=kind,
        message=message,
        reason=Reason.UPSTREAM_TIMEOUT if kind is Kind.TIMEOUT else Reason.UPSTREAM,
        path=path,
        code=code,
        type="" if error.type in _TYPES else _foreign(error.type),
        detail=f"upstream_{status or 200}:{_foreign(error.type) or kind}",
        status=_status(kind, status),
        headers=NO_RETRY if kind is Kind.BILLING else (),
    )


def _status(kind: Kind, status: int) -> int:
    """The status of the answer, or 0 where the kind decides it."""
    if kind is Kind.INVALID_REQUEST:
        return 400 if status in (0, 422) else status
    if kind is Kind.TIMEOUT:
        return 408 if status == 408 else 0
    if kind is Kind.API:
        return status if not status or 500 <= status <= 599 else 502
    return 0


def _code_and_path(kind: Kind, message: str) -> tuple[str, str]:
    if kind is Kind.NOT_FOUND:
        return "model_not_found" if message.startswith("model:") else "", "model"
    if kind is not Kind.INVALID_REQUEST:
        return "", ""
    if message.startswith(_OVERFLOWS[0]) or _OVERFLOWS[1] in message:
        return "context_length_exceeded", "messages"
    found = _PATH.match(message)
    return "", found.group(1) if found else ""


def _foreign(word: str) -> str:
    """A type that is not Anthropic's, or an empty string; `error` is the type of the envelope."""
    return word if word != "error" and re.fullmatch(r"[a-z][a-z0-9_]{0,63}", word) else ""


def _phrase(status: int) -> str:
    try:
        return f"upstream answered {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"upstream answered {status}"
