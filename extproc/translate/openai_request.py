"""Members of a request that both of OpenAI's dialects have alike (docs/mapping.md 1, 6.1, 6.6, 6.7)."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec

from extproc.providers.profiles import Profile
from extproc.translate import schema
from extproc.translate.conversation import (
    Conversation,
    OutputFormat,
    Setting,
    Thinking,
)
from extproc.translate.provider_request import nearest
from extproc.translate.want import Json, Warnings

_ID_MAX = 64
_SCHEMA_PROMPT = "Answer with JSON that fulfils this JSON schema, and with nothing else:\n"
_ANY_JSON = "Respond with a single valid JSON object and nothing else."
_FOREIGN_TIERS = frozenset(("on_demand",))
"""Groq's own word, which OpenAI does not know."""


def bounded_limit(asked: Setting[int] | None, profile: Profile, warnings: Warnings, least: int = 1) -> int | None:
    """The limit of the answer in tokens, clamped to what the model can do."""
    if asked is None:
        return None
    value, most = asked.value, profile.max_output_tokens
    if most is not None and value > most:
        warnings.add("clamped", asked.path, f"Input should be less than or equal to {most}")
        value = most
    if value < least:
        warnings.add("clamped", asked.path, f"Input should be greater than or equal to {least}")
        value = least
    return value


def sampling(
    conversation: Conversation, profile: Profile, effort: str | None, warnings: Warnings, *, top_k: bool
) -> Json:
    """temperature, top_p and, where the dialect has it, top_k, as far as the model takes them."""
    allowed = effort == "none" if profile.sampling_needs_no_effort else profile.sampling
    sent: Json = {}
    for name in ("temperature", "top_p", "top_k"):
        setting: Setting[Any] | None = getattr(conversation, name)
        if setting is None:
            continue
        if allowed and (name != "top_k" or top_k):
            sent[name] = setting.value
        else:
            warnings.add("dropped", setting.path)
    return sent


def user(conversation: Conversation, profile: Profile) -> Json:
    """Who asks, for the provider's abuse checks; OpenAI's limit is 64 characters."""
    if conversation.user is None or profile.user_field == "none":
        return {}
    return {profile.user_field: _bounded_id(conversation.user.value)}


def session_key(conversation: Conversation, profile: Profile) -> Json:
    """One key for a session keeps a conversation on the machine that has its prefix cached."""
    if profile.prompt_cache_key != "session" or not conversation.session:
        return {}
    return {"prompt_cache_key": _bounded_id(conversation.session)}


def _bounded_id(value: str) -> str:
    if len(value) <= _ID_MAX:
        return value
    return sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def service_tier(conversation: Conversation, profile: Profile, warnings: Warnings) -> Json:
    tier = conversation.service_tier
    if tier is None:
        return {}
    if not profile.service_tier or tier.value in _FOREIGN_TIERS:
        warnings.add("dropped", tier.path)
        return {}
    return {"service_tier": tier.value}


def clamped_effort(thinking: Thinking, profile: Profile, warnings: Warnings) -> str | None:
    """The nearest level of effort that the model has: downwards, else upwards (docs/mapping.md 1.9)."""
    wanted = thinking.effort
    if wanted is None:
        return None
    if not profile.efforts:
        if thinking.is_explicit:
            warnings.add("dropped", wanted.path)
        return None
    found = nearest(wanted.value, profile.efforts)
    if found != wanted.value:
        warnings.add("clamped", wanted.path)
    return found


def json_schema(wanted: OutputFormat, warnings: Warnings) -> Json:
    """name, schema and strict of a format with a schema."""
    repaired = schema.repair(wanted.schema or {}, f"{wanted.path}.schema", add_required=False)
    fits = not repaired.changed_meaning and schema.fits_strict(repaired.schema)
    strict = fits if wanted.strict is None else fits and wanted.strict
    if not strict and wanted.strict is not False:
        warnings.add("approx", wanted.path, "the schema does not suit the upstream's strict mode")
    described = {"description": wanted.description} if wanted.description else {}
    return {"name": wanted.name, "schema": repaired.schema, "strict": strict, **described}


def format_prompt(wanted: OutputFormat | None, profile: Profile, warnings: Warnings) -> str:
    """What the system prompt must say where the model has no such mode."""
    if wanted is None or profile.structured_output == "json_schema":
        return ""
    if wanted.schema is None and profile.structured_output == "json_object":
        return ""
    warnings.add("emulated", wanted.path)
    return _SCHEMA_PROMPT + msgspec.json.encode(wanted.schema).decode() if wanted.schema else _ANY_JSON


def encode(body: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(body)
