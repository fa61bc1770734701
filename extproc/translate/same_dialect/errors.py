"""An upstream's error for a client of its own dialect: as it is when it holds no secret (mapping 5.1)."""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from extproc.errors import STATUS, Kind, Reason, Rejection
from extproc.providers.profiles import Profile
from extproc.translate.openai_errors import refused
from extproc.translate.pair import Json
from extproc.translate.provider_error import MAX_CHARS, hidden, is_overflow, parse_error
from extproc.wire.chat import error_body
from extproc.wire.lenient import Undecodable, loads

Envelope = Callable[[Json], bytes]
"""Writes a decoded error body again, without its secrets; empty when there is nothing to be read."""

# The vendors' own pages tell a client what to do; the addresses of their APIs are as private as any.
_PUBLIC = re.compile(
    r"(https://(?:(?:www|docs|platform|console|support|help)\.)?(?:anthropic|claude|openai)\.com[^\s\"'<>)\]}\\]*)"
)
CREDENTIAL = "upstream_credential_rejected"
_KINDS: dict[str, Kind] = {str(kind): kind for kind in Kind}


def refusal(status: int, body: bytes, profile: Profile, envelope: Envelope) -> tuple[Rejection, bytes]:
    """For the record, and what to send with its status; no bytes: the rejection has to be worded."""
    rejection = refused(status, body, profile)
    told = object_of(body)
    rebuilt = envelope(told)
    if is_concealed(rejection) or not rebuilt or not 400 <= status < 600:
        return rejection, b""
    as_it_is = isinstance(told.get("error"), dict)
    return msgspec.structs.replace(rejection, status=status), passing(body, rebuilt) if as_it_is else rebuilt


def is_concealed(rejection: Rejection) -> bool:
    """The gateway's own credential was refused: not one of the provider's words passes (`hide_upstream_auth`)."""
    return rejection.detail == CREDENTIAL


def passing(original: bytes, rebuilt: bytes) -> bytes:
    """Addresses may stand in any member, such as OpenRouter's `metadata.raw`."""
    text = original.decode("utf-8", "replace")
    return original if len(text) <= MAX_CHARS and clean(text) == text else rebuilt


def clean(message: str) -> str:
    """Keys and private addresses are taken out."""
    parts = _PUBLIC.split(message[: 2 * MAX_CHARS])
    return "".join(part if at % 2 else hidden(part) for at, part in enumerate(parts))[:MAX_CHARS]


def object_of(body: bytes) -> Json:
    """Empty when it is none."""
    try:
        found = loads(body)
    except Undecodable:
        return {}
    return found if isinstance(found, dict) else {}


def by_type(error: Any, profile: Profile) -> Rejection:
    """Anthropic's error object, as it comes without a status of its own."""
    members = error if isinstance(error, dict) else {}
    word, message = members.get("type"), members.get("message")
    kind = _KINDS.get(word, Kind.API) if isinstance(word, str) else Kind.API
    if kind is Kind.AUTHENTICATION and profile.hide_upstream_auth:
        return Rejection(
            kind=Kind.API, message="gateway credential rejected", reason=Reason.UPSTREAM, detail=CREDENTIAL
        )
    return Rejection(
        kind=kind,
        message=clean(message) if isinstance(message, str) and message else "the upstream reported an error",
        reason=Reason.UPSTREAM_TIMEOUT if kind is Kind.TIMEOUT else Reason.UPSTREAM,
        detail=f"upstream_{STATUS[kind]}:{kind}",
    )


def openai_envelope(body: Json) -> bytes:
    """An Envelope: the vendors' other forms are put into OpenAI's."""
    told = parse_error(body)
    message = clean(told.message)
    if not message:
        return b""
    code = "context_length_exceeded" if is_overflow(told, 400) else told.code
    return error_body(message, told.type or "invalid_request_error", told.param or None, code or None)
