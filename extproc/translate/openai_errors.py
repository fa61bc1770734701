"""An OpenAI-type provider's errors as rejections that keep its own words (docs/mapping.md 5.1).

Kind, status and what must be hidden are decided as for every client; message, `code`, `type` and `param` stay the
provider's, so that SDKs raise the exception that they would raise for the provider itself.
"""

from typing import Any

import msgspec

from extproc.errors import Rejection
from extproc.providers.profiles import Profile
from extproc.translate import openai_error_kinds as kinds
from extproc.translate.provider_error import ProviderError, is_overflow, parse_error, scrubbed

OVERFLOW = "context_length_exceeded"


class UpstreamError(Rejection, frozen=True, kw_only=True):
    """A rejection in the provider's own words."""

    plain: Rejection
    """The same in the words of Anthropic's API, on which Claude Code acts."""


def in_anthropic_words(rejection: Rejection) -> Rejection:
    return rejection.plain if isinstance(rejection, UpstreamError) else rejection


def by_status(status: int, body: bytes, profile: Profile) -> Rejection:
    """An answer whose status says that it is an error."""
    return _in_own_words(kinds.refused(status, body, profile), parse_error(body), status)


def in_answer(value: Any, profile: Profile, otherwise: str = "the upstream reported an error") -> Rejection:
    """An error object in an answer of status 200; its own code may be a status."""
    rejection = kinds.reported(value, profile, otherwise)
    return _in_own_words(rejection, parse_error(value), rejection.http_status)


def unreadable(body: bytes, profile: Profile) -> Rejection:
    """An answer of status 200 that is no answer; it may still say why."""
    return kinds.unreadable(body, profile)


def coded(value: Any, profile: Profile, rejection: Rejection | None) -> Rejection:
    """An error whose kind is known by its code."""
    found = rejection or kinds.reported(value, profile)
    return _in_own_words(found, parse_error(value), found.http_status)


def _in_own_words(rejection: Rejection, error: ProviderError, status: int) -> Rejection:
    if rejection.detail == "upstream_credential_rejected":
        return rejection
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
