"""An OpenAI-type provider's errors as rejections that keep its own words (docs/mapping.md 5.1, 5.2).

Kind, status and what must be hidden are decided as for every client; message, `code`, `type` and `param` stay the
provider's, so that SDKs raise the exception that they would raise for the provider itself.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from extproc.errors import Kind, Reason, Rejection
from extproc.providers.profiles import Profile
from extproc.translate.provider_error import (
    ProviderError,
    failure,
    is_overflow,
    parse_error,
    prompt_too_long,
    refused_block,
    rejected,
    scrubbed,
)
from extproc.wire.lenient import Undecodable, loads

# SDKs obey it before they look at the status.
NO_RETRY = (("x-should-retry", "false"),)

_CODES: dict[str, tuple[int, Kind]] = {
    **dict.fromkeys(("insufficient_quota", "billing_hard_limit_reached", "billing_not_active"), (402, Kind.BILLING)),
    **dict.fromkeys(
        ("content_filter", "content_policy_violation", "responsibleaipolicyviolation"), (400, Kind.INVALID_REQUEST)
    ),
    "invalid_api_key": (401, Kind.AUTHENTICATION),
    **dict.fromkeys(("model_not_found", "deploymentnotfound"), (404, Kind.NOT_FOUND)),
    "rate_limit_exceeded": (429, Kind.RATE_LIMIT),
    **dict.fromkeys(("server_is_overloaded", "slow_down", "engine_overloaded"), (529, Kind.OVERLOADED)),
}
_FILTERED = frozenset(code for code, found in _CODES.items() if found == (400, Kind.INVALID_REQUEST))
# Codes that decide beside most statuses; the rest only where there is none, in a 200 or a stream.
_DECISIVE = frozenset(_CODES) - {"rate_limit_exceeded"}
# The first match wins: what these codes say comes after what those statuses say.
# A gateway may wrap the code of one error into the status of another.
_OUTRANKED: dict[Kind, frozenset[int]] = {
    Kind.INVALID_REQUEST: frozenset((402,)),
    Kind.AUTHENTICATION: frozenset((402,)),
    Kind.NOT_FOUND: frozenset((401, 402, 403)),
    Kind.OVERLOADED: frozenset(range(400, 500)),
}
# Types and codes in bodies without a status of their own.
SPOKEN: dict[str, tuple[int, Kind]] = {
    **_CODES,
    # The `type` of OpenAI's 429 is what has run out: requests or tokens.
    **dict.fromkeys(("requests", "tokens", "rate_limit_error"), (429, Kind.RATE_LIMIT)),
    **dict.fromkeys(("overloaded_error", "service_unavailable_error"), (529, Kind.OVERLOADED)),
}
# https://platform.openai.com/docs/guides/error-codes. What is 503 for OpenAI is 529 for Anthropic's clients; a 408 is a
# timeout of the provider's, not of the client's.
_STATUSES: dict[int, tuple[int, Kind]] = {
    400: (400, Kind.INVALID_REQUEST),
    401: (401, Kind.AUTHENTICATION),
    402: (402, Kind.BILLING),
    403: (403, Kind.PERMISSION),
    404: (404, Kind.NOT_FOUND),
    408: (504, Kind.TIMEOUT),
    409: (409, Kind.CONFLICT),
    413: (413, Kind.TOO_LARGE),
    # FastAPI's status for a body that it cannot validate; Mistral sends it.
    422: (400, Kind.INVALID_REQUEST),
    # Too Early (RFC 8470): to be sent again later, like a 429.
    425: (429, Kind.RATE_LIMIT),
    429: (429, Kind.RATE_LIMIT),
    503: (529, Kind.OVERLOADED),
    504: (504, Kind.TIMEOUT),
    # Cloudflare's: its own wait for the server was too long
    # (https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/error-524/).
    524: (504, Kind.TIMEOUT),
    529: (529, Kind.OVERLOADED),
}
_REFUSED_CREDENTIAL = "gateway credential rejected"


def refused(status: int, body: bytes, profile: Profile) -> Rejection:
    """An answer whose status says that it is an error."""
    error = parse_error(body)
    return _rejection(error, status, profile, _by_status(error, status), _phrase(status))


def reported(value: Any, profile: Profile, otherwise: str = "the upstream reported an error") -> Rejection:
    """An error inside an answer of status 200: its own code may be a status."""
    error = parse_error(value)
    if code := _status_in(error):
        return _rejection(error, code, profile, _by_status(error, code), otherwise)
    spoken = next((SPOKEN[word] for word in error.words if word in SPOKEN), (502, Kind.API))
    return _rejection(error, 502, profile, spoken, otherwise)


def _status_in(error: ProviderError) -> int:
    """A status that the error itself names; 0 for none. Groq names it beside a code in words."""
    # OpenRouter's and Gemini's `code` is the status as a number; OpenAI's is a word.
    for word in (error.code, str(error.members.get("status_code", ""))):
        if word.isascii() and word.isdecimal() and len(word) == 3 and 400 <= int(word) <= 599:
            return int(word)
    return 0


def unreadable(body: bytes, profile: Profile) -> Rejection:
    """An answer of status 200 that is no answer: it may still say why."""
    message = "the upstream's answer cannot be read"
    try:
        value = loads(body)
    except Undecodable:
        return failure(message, "unreadable_answer")
    return reported(value, profile, message)


def known_code(value: Any, profile: Profile, codes: Mapping[str, tuple[int, Kind]]) -> Rejection | None:
    """An error whose code alone says what it is; None for a code that is not among these."""
    error = parse_error(value)
    found = next((codes[word] for word in error.words if word in codes), None)
    return found and _rejection(error, found[0], profile, found, "the upstream reported an error")


def is_filtered(rejection: Rejection) -> bool:
    return rejection.code in _FILTERED


def _by_status(error: ProviderError, status: int) -> tuple[int, Kind]:
    for word, found in _CODES.items():
        if word in _DECISIVE and word in error.words and status not in _OUTRANKED.get(found[1], ()):
            return found
    if status in _STATUSES:
        return _STATUSES[status]
    # An unknown 4xx is the request's fault, as its class says (RFC 9110, section 15.5).
    if 400 <= status < 500:
        return status, Kind.INVALID_REQUEST
    # Those from 520 on are Cloudflare's own, of which clients know nothing.
    return (status if 500 <= status < 520 else 502), Kind.API


def _rejection(
    error: ProviderError, status: int, profile: Profile, found: tuple[int, Kind], otherwise: str
) -> Rejection:
    wanted, kind = found
    message = scrubbed(error.message) or otherwise
    # Clients shorten the conversation and go on, if they are told in the words that they look for.
    if kind is not Kind.BILLING and is_overflow(error, status):
        wanted, kind, message = 400, Kind.INVALID_REQUEST, prompt_too_long(error, message)
    elif block := refused_block(message, status):
        wanted, kind, message = 400, Kind.INVALID_REQUEST, rejected(message, block)
    # The key is the gateway's. A 401 could make a client throw away its own, or ask for a login.
    elif kind is Kind.AUTHENTICATION and profile.hide_upstream_auth:
        wanted, kind, message = 500, Kind.API, _REFUSED_CREDENTIAL
    elif status in {400, 422} and kind is Kind.INVALID_REQUEST and not _FILTERED & set(error.words):
        message = _with_path(error.param, message)
    return Rejection(
        kind=kind,
        message=message,
        reason=Reason.UPSTREAM_TIMEOUT if kind is Kind.TIMEOUT else Reason.UPSTREAM,
        code=next((word for word in error.words if word in _CODES), ""),
        detail=_detail(error, status, message),
        status=wanted,
        # SDKs would repeat either: a 500 always, and the 429 that a spent quota is to OpenAI's clients.
        headers=NO_RETRY if kind is Kind.BILLING or message == _REFUSED_CREDENTIAL else (),
    )


def _detail(error: ProviderError, status: int, message: str) -> str:
    if message == _REFUSED_CREDENTIAL:
        return "upstream_credential_rejected"
    word = next((word for word in error.words if re.fullmatch(r"[a-z0-9_.-]{1,64}", word)), "")
    return f"upstream_{status}:{word}" if word else f"upstream_{status}"


# Member of Chat or Responses -> the client's member it came from.
_MEMBERS: Mapping[str, str] = {
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "instructions": "system",
    "stop": "stop_sequences",
    "reasoning_effort": "output_config.effort",
    "reasoning.effort": "output_config.effort",
    "response_format": "output_config.format",
    "text.format": "output_config.format",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
}


def _with_path(param: str, message: str) -> str:
    """`messages[2].content` is `messages.2.content` to Anthropic's clients."""
    path = re.sub(r"\.?\[['\"]?([^\]'\"]*)['\"]?\]", r".\1", param).strip(".")
    path = _MEMBERS.get(path, path)
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", path) or message.startswith((f"{path}:", f"{param}:")):
        return message
    return f"{path}: {message}"


def _phrase(status: int) -> str:
    try:
        return f"upstream answered {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"upstream answered {status}"


OVERFLOW = "context_length_exceeded"


class UpstreamError(Rejection, frozen=True, kw_only=True):
    """A rejection in the provider's own words."""

    plain: Rejection
    """The same in the words of Anthropic's API, on which Claude Code acts."""


def in_anthropic_words(rejection: Rejection) -> Rejection:
    return rejection.plain if isinstance(rejection, UpstreamError) else rejection


def by_status(status: int, body: bytes, profile: Profile) -> Rejection:
    """An answer whose status says that it is an error."""
    return _in_own_words(refused(status, body, profile), parse_error(body), status)


def in_answer(value: Any, profile: Profile, otherwise: str = "the upstream reported an error") -> Rejection:
    """An error object in an answer of status 200; its own code may be a status."""
    rejection = reported(value, profile, otherwise)
    return _in_own_words(rejection, parse_error(value), rejection.http_status)


def coded(value: Any, profile: Profile, rejection: Rejection | None) -> Rejection:
    """An error whose kind is known by its code."""
    found = rejection or reported(value, profile)
    return _in_own_words(found, parse_error(value), found.http_status)


def _in_own_words(rejection: Rejection, error: ProviderError, status: int) -> Rejection:
    if rejection.detail == "upstream_credential_rejected":
        return rejection
    # A number is a status, not one of the words that OpenAI's clients look for.
    code = error.code if not error.code.isdecimal() else ""
    if is_overflow(error, status):
        code = OVERFLOW
    own_words = msgspec.structs.replace(
        rejection,
        message=scrubbed(error.message) or rejection.message,
        code=code or rejection.code,
        type=error.type,
        path=error.param if error.param.isascii() and error.param.isprintable() else "",
    )
    return UpstreamError(**msgspec.structs.asdict(own_words), plain=rejection)
