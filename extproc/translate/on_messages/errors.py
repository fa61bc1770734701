"""Anthropic's errors in OpenAI's words (mapping 5.3). The words themselves are in wire/chat.py, by kind."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from extproc.errors import Kind, Reason, Rejection
from extproc.providers.profiles import Profile
from extproc.translate.openai_upstream.scrub import scrubbed
from extproc.translate.openai_upstream.told import Told, told_by

NO_RETRY = (("x-should-retry", "false"),)
_REFUSED_CREDENTIAL = "gateway credential rejected"

_TYPES: dict[str, Kind] = {str(kind): kind for kind in Kind}
# These say less than a status does.
_VAGUE = frozenset((Kind.INVALID_REQUEST, Kind.API))
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
Members = Mapping[str, str]
"""Member upstream -> the client's member it was made from."""


def refused(status: int, body: bytes, profile: Profile, members: Members) -> Rejection:
    """An answer whose status says that it is an error."""
    told = told_by(body)
    rejection = _rejection(told, status, profile, _kind(told, status), _phrase(status))
    return msgspec.structs.replace(rejection, path=_translated(rejection.path, members))


def reported(value: Any, profile: Profile) -> Rejection:
    """An error inside an answer of status 200: its type is all there is."""
    told = told_by(value)
    kind = _TYPES.get(told.type, Kind.API)
    rejection = _rejection(told, 0, profile, kind, "the upstream reported an error")
    return msgspec.structs.replace(rejection, path="")


def _kind(told: Told, status: int) -> Kind:
    """The type where it says more than the status."""
    spoken = _TYPES.get(told.type)
    if spoken is not None and spoken not in _VAGUE:
        return spoken
    if status in _STATUSES:
        return _STATUSES[status]
    return Kind.INVALID_REQUEST if 400 <= status < 500 else Kind.API


def _rejection(told: Told, status: int, profile: Profile, kind: Kind, otherwise: str) -> Rejection:
    message = scrubbed(told.message) or otherwise
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
        type="" if told.type in _TYPES else _foreign(told.type),
        detail=f"upstream_{status or 200}:{_foreign(told.type) or kind}",
        status=_status(kind, status),
        headers=NO_RETRY if kind is Kind.BILLING else (),
    )


def _status(kind: Kind, status: int) -> int:
    """Where the kind does not decide it: 0."""
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


def _translated(path: str, members: Members) -> str:
    """Below `messages` places are not the same on both sides, but the list is."""
    for upstream, member in members.items():
        if path == upstream or path.startswith(f"{upstream}."):
            return member
    return path


def _foreign(word: str) -> str:
    """`error` is the envelope's own type."""
    return word if word != "error" and re.fullmatch(r"[a-z][a-z0-9_]{0,63}", word) else ""


def _phrase(status: int) -> str:
    try:
        return f"upstream answered {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"upstream answered {status}"
