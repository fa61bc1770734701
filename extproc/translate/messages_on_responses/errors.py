"""Answers that failed, in Anthropic's words (mapping 6.3, 6.4)."""

from typing import Any

from extproc.errors import Kind, Rejection
from extproc.providers.profiles import Profile
from extproc.translate.for_messages import ending
from extproc.translate.for_messages.ending import Ending
from extproc.translate.openai_upstream.errors import SPOKEN, coded, reported
from extproc.translate.openai_upstream.told import told_by
from extproc.wire.responses import Response

_CODES: dict[str, tuple[int, Kind]] = {
    **SPOKEN,
    "server_error": (500, Kind.API),
    "vector_store_timeout": (504, Kind.TIMEOUT),
}
_OF_THE_PROMPT = (
    "data_residency_mismatch", "empty_image_file", "failed_to_download_image", "image_content_policy_violation",
    "image_file_not_found", "image_file_too_large", "image_parse_error", "image_too_large", "image_too_small",
    "invalid_base64_image", "invalid_image", "invalid_image_format", "invalid_image_mode", "invalid_image_url",
    "invalid_prompt", "unsupported_image_media_type",
)  # fmt: skip
_INVALID = (400, Kind.INVALID_REQUEST)
_IN_EVENTS = _CODES | dict.fromkeys(_OF_THE_PROMPT, _INVALID)
# Code -> category: the upstream's guard stopped the model, which is how a refusal of Claude's looks.
_REFUSALS = {"bio_policy": "bio", "misalignment_policy_violation": None}


def refusal(response: Response) -> Ending | None:
    """The ending that a failed response stands for, if it is one."""
    told = told_by({"error": response.error})
    if told.code not in _REFUSALS:
        return None
    return ending.refused(told.message or None, _REFUSALS[told.code])


def failed(response: Response, profile: Profile) -> Rejection:
    """Codes that are not known are of the prompt."""
    error = {"error": response.error}
    codes = dict.fromkeys(told_by(error).words, _INVALID) | _CODES
    return coded(error, profile, codes) or reported(error, profile, "the upstream's answer failed")


def spoken(value: Any, profile: Profile) -> Rejection:
    """An event of type `error`, whose members are flat, or an error object as elsewhere."""
    return coded(value, profile, _IN_EVENTS) or reported(value, profile)
