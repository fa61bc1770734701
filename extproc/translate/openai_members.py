"""What both of OpenAI's dialects have in common in a request (docs/mapping.md 4.1, 6.5)."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, TypeVar

import msgspec

from extproc.providers.profiles import Profile
from extproc.translate import checked, schema
from extproc.translate.checked import Json, Warnings, refused, unsupported
from extproc.translate.conversation import (
    LEVELS,
    Conversation,
    Grammar,
    Loss,
    OutputFormat,
    Setting,
    Unmapped,
)

T = TypeVar("T")

# OpenAI's, and those of Groq and others that speak its dialects.
SERVICE_TIERS = ("auto", "default", "priority", "fast", "scale", "flex", "on_demand", "ultrafast")
LOCATION = ("city", "country", "region", "timezone")
CACHE_MEMBERS = ("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention")
# Zero is a seed like any other, and a limit of no calls at all.
_MEANT_WHEN_EMPTY = ("max_tool_calls", "seed")
# OpenAI's SDK writes the members of `extra_body` at the top of the body.
_ANTHROPIC = frozenset(("betas", "cache_control", "output_config", "thinking"))


def setting(value: T | None, path: str) -> Setting[T] | None:
    return None if value is None else Setting(value, path)


def limit(**named: int | None) -> Setting[int] | None:
    """The limit of tokens: the first that is not None, by its member's name."""
    for name, value in named.items():
        if value is None:
            continue
        if value < 1:
            raise refused(name, "Input should be greater than or equal to 1")
        return Setting(value, name)
    return None


def service_tier_of(tier: str | None) -> Setting[str] | None:
    return None if tier is None else Setting(checked.one_of(tier, SERVICE_TIERS, "service_tier"), "service_tier")


def effort(level: str | None, path: str) -> Setting[str] | None:
    return None if level is None else Setting(checked.one_of(level, LEVELS, path), path)


class _JsonSchema(msgspec.Struct, gc=False):
    name: str | None = None
    schema: Json | None = None
    description: str | None = None
    strict: bool | None = None


def output_format(found: Any, path: str, *, nested: bool = False) -> OutputFormat | None:
    """`nested`: the members that belong to a type stand in an object below it."""
    sent = {} if found is None else checked.item(found, path)
    if not sent:
        return None
    kind = checked.one_of(checked.text(sent, "type", path), ("text", "json_object", "json_schema"), f"{path}.type")
    if kind != "json_schema":
        return OutputFormat(path) if kind == "json_object" else None
    holder, where = (checked.mapping(sent, kind, path), f"{path}.{kind}") if nested else (sent, path)
    wanted = checked.typed(holder, _JsonSchema, where)
    return OutputFormat(
        path,
        schema=wanted.schema or None,
        name=wanted.name or "output",
        description=wanted.description or "",
        strict=wanted.strict,
    )


def user_of(*, safety_identifier: str | None, user: str | None) -> Setting[str] | None:
    """OpenAI's newer member counts: https://platform.openai.com/docs/guides/safety-best-practices."""
    if safety_identifier is not None:
        return Setting(safety_identifier, "safety_identifier") if safety_identifier else None
    return Setting(user, "user") if user else None


def check_moderation(body: Json) -> None:
    """A block that was asked for must not be waved through where nobody moderates. Raises Refused."""
    policy = checked.optional_mapping(checked.mapping(body, "moderation", ""), "policy", "moderation")
    for side in ("input", "output"):
        if checked.optional_mapping(policy, side, "moderation.policy").get("mode") == "block":
            raise unsupported(f"moderation.policy.{side}.mode", "nothing is moderated here, so nothing can be blocked")


def unmapped(body: Json, losses: Mapping[str, Loss]) -> Iterable[Unmapped]:
    """Members without a typed place. Null, false, zero and empty are defaults, unless a change of them is a loss."""
    for name, loss in losses.items():
        value = body.get(name)
        if value is not None and (value or name in _MEANT_WHEN_EMPTY):
            yield Unmapped(name, value, name, loss)


def _is_anthropic(name: str) -> bool:
    return name in _ANTHROPIC or name.startswith("anthropic_")


def anthropic(body: Json) -> Iterable[Unmapped]:
    """Members of Anthropic's. Other providers have no place for them; nothing is lost where they are empty."""
    for name, value in body.items():
        if value is not None and _is_anthropic(name):
            yield Unmapped(name, value, name, "warn" if value else "drop", is_anthropic=True)


def unknown(body: Json, known: frozenset[str], warnings: Warnings) -> None:
    """Reports top-level members that are neither known nor Anthropic's."""
    if not body.keys() <= known:
        warnings.unknown({name: value for name, value in body.items() if not _is_anthropic(name)}, known, "")


def location(holder: Json) -> dict[str, str]:
    """The members of an approximate location that are text."""
    return {key: found for key in LOCATION if isinstance(found := holder.get(key), str)}


def arguments(found: Any) -> str:
    """A call's arguments as JSON text; some clients send back the object itself."""
    if isinstance(found, str):
        return found
    return "" if found is None else msgspec.json.encode(found).decode()


def openai_citation(citation: Json, begin: int) -> Json:
    """A `url_citation` of a part that stands at `begin` in its message."""
    places = {name: n + begin for name in ("start_index", "end_index") if type(n := citation.get(name)) is int}
    return {**citation, **places}


def grammar(format: Json) -> Grammar | None:
    """The grammar in a custom tool's `format`, which the two dialects nest differently."""
    if format.get("type") != "grammar":
        return None
    nested = format.get("grammar")
    members: Any = nested if isinstance(nested, dict) else format
    syntax, definition = members.get("syntax"), members.get("definition")
    if not isinstance(definition, str):
        return None
    return Grammar(syntax if isinstance(syntax, str) else "", definition)


# https://platform.openai.com/docs/api-reference/chat/create#chat-create-safety_identifier
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
    # Models that reason take no sampling: https://platform.openai.com/docs/guides/reasoning.
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
    """Returns the member that tells the provider's abuse checks who asks; OpenAI's limit is 64 characters."""
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
    # Claude Code's id is JSON with device, account and session, and so longer.
    return sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def service_tier(conversation: Conversation, profile: Profile, warnings: Warnings) -> Json:
    tier = conversation.service_tier
    if tier is None:
        return {}
    if not profile.service_tier or tier.value in _FOREIGN_TIERS:
        warnings.add("dropped", tier.path)
        return {}
    return {"service_tier": tier.value}


def written_format(wanted: OutputFormat | None, profile: Profile, warnings: Warnings) -> Json:
    """The format as Responses has it, as far as the model takes one; empty where there is none."""
    if wanted is None or profile.structured_output == "prompt":
        return {}
    if wanted.schema is None or profile.structured_output != "json_schema":
        return {"type": "json_object"}
    repaired = schema.repair(wanted.schema, f"{wanted.path}.schema", add_required=False)
    # Strict mode refuses a schema that it cannot enforce, so that it is claimed only where it holds:
    # https://platform.openai.com/docs/guides/structured-outputs#supported-schemas.
    fits = not repaired.changed_meaning and schema.fits_strict(repaired.schema)
    strict = fits if wanted.strict is None else fits and wanted.strict
    if not strict and wanted.strict is not False:
        warnings.add("approx", wanted.path, "the schema does not suit the upstream's strict mode")
    described = {"description": wanted.description} if wanted.description else {}
    return {"type": "json_schema", "name": wanted.name, "schema": repaired.schema, "strict": strict, **described}


def format_prompt(wanted: OutputFormat | None, profile: Profile, warnings: Warnings) -> str:
    """What the system prompt must say where the model has no such mode."""
    if wanted is None or profile.structured_output == "json_schema":
        return ""
    # OpenAI refuses `json_object` where no message mentions JSON, so the client's own do already.
    if wanted.schema is None and profile.structured_output == "json_object":
        return ""
    warnings.add("emulated", wanted.path)
    return _SCHEMA_PROMPT + msgspec.json.encode(wanted.schema).decode() if wanted.schema else _ANY_JSON


def encode(body: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(body)
