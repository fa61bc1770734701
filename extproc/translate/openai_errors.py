"""An OpenAI-type provider's errors as rejections that keep its own words (docs/mapping.md 5.1).

Kind, status and what must be hidden are decided as for every client; message, `code`, `type` and `param` stay the
provider's, so that SDKs raise the exception that they would raise for the provider itself.
"""

from typing import Any

import msgspec

from extproc.errors import Rejection
from extproc.providers.profiles import Profile
from extproc.translate.openai_upstream import errors
from extproc.translate.openai_upstream.overflow import is_overflow
from extproc.translate.openai_upstream.scrub import scrubbed
from extproc.translate.openai_upstream.told import Told, told_by

OVERFLOW = "context_length_exceeded"


def by_status(status: int, body: bytes, profile: Profile) -> Rejection:
    """An answer whose status says that it is an error."""
    return _in_own_words(errors.refused(status, body, profile), told_by(body), status)


def in_answer(value: Any, profile: Profile, otherwise: str = "the upstream reported an error") -> Rejection:
    """An error object in an answer of status 200; its own code may be a status."""
    rejection = errors.reported(value, profile, otherwise)
    return _in_own_words(rejection, told_by(value), rejection.http_status)


def unreadable(body: bytes, profile: Profile) -> Rejection:
    """An answer of status 200 that is no answer; it may still say why."""
    return errors.unreadable(body, profile)


def coded(value: Any, profile: Profile, rejection: Rejection | None) -> Rejection:
    """An error whose kind is known by its code."""
    found = rejection or errors.reported(value, profile)
    return _in_own_words(found, told_by(value), found.http_status)


def _in_own_words(rejection: Rejection, told: Told, status: int) -> Rejection:
    if rejection.detail == "upstream_credential_rejected":
        return rejection
    code = told.code if not told.code.isdecimal() else ""
    if is_overflow(told, status):
        code = OVERFLOW
    return msgspec.structs.replace(
        rejection,
        message=scrubbed(told.message) or rejection.message,
        code=code or rejection.code,
        type=told.type,
        path=told.param if told.param.isascii() and told.param.isprintable() else "",
    )
