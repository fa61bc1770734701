"""Responses that failed (docs/mapping.md 6.3, 6.4)."""

from typing import Any

from extproc.errors import Kind, Rejection
from extproc.providers.profiles import Profile
from extproc.translate import openai_errors
from extproc.translate.answer_events import AnswerFinished
from extproc.translate.openai_upstream.errors import SPOKEN, coded
from extproc.translate.openai_upstream.told import told_by
from extproc.wire.responses import Response

_INVALID = (400, Kind.INVALID_REQUEST)
_CODES: dict[str, tuple[int, Kind]] = {
    **SPOKEN,
    "server_error": (500, Kind.API),
    "vector_store_timeout": (504, Kind.TIMEOUT),
}
# https://platform.openai.com/docs/api-reference/responses/object#responses-object-error
_PROMPT_CODES = (
    "data_residency_mismatch", "empty_image_file", "failed_to_download_image", "image_content_policy_violation",
    "image_file_not_found", "image_file_too_large", "image_parse_error", "image_too_large", "image_too_small",
    "invalid_base64_image", "invalid_image", "invalid_image_format", "invalid_image_mode", "invalid_image_url",
    "invalid_prompt", "unsupported_image_media_type",
)  # fmt: skip
_STREAM_CODES = _CODES | dict.fromkeys(_PROMPT_CODES, _INVALID)
# Code -> category: a guard of the provider's stopped the model, which is what a refusal of Claude's looks like.
_REFUSALS = {"bio_policy": "bio", "misalignment_policy_violation": None}


def refusal(response: Response) -> AnswerFinished | None:
    """The end that a failed response stands for, where it is a refusal."""
    error = told_by({"error": response.error})
    if error.code not in _REFUSALS:
        return None
    return AnswerFinished("refusal", explanation=error.message or None, category=_REFUSALS[error.code])


def failed(response: Response, profile: Profile) -> Rejection:
    """Codes that are not known concern the prompt."""
    error = {"error": response.error}
    codes = dict.fromkeys(told_by(error).words, _INVALID) | _CODES
    found = coded(error, profile, codes)
    if found is None:
        return openai_errors.in_answer(error, profile, "the upstream's answer failed")
    return openai_errors.coded(error, profile, found)


def stream_error(value: Any, profile: Profile) -> Rejection:
    """An event of type `error`, whose members are flat, or an error object as elsewhere."""
    return openai_errors.coded(value, profile, coded(value, profile, _STREAM_CODES))
