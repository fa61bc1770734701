"""What both of OpenAI's dialects have in common in a request (docs/mapping.md 4.1, 6.5)."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from extproc.translate import want
from extproc.translate.conversation import LEVELS, CacheHint, Grammar, Loss, Setting, Unmapped
from extproc.translate.want import Json, Warnings, refused, unsupported

SERVICE_TIERS = ("auto", "default", "priority", "fast", "scale", "flex", "on_demand", "ultrafast")
LOCATION = ("city", "country", "region", "timezone")
CACHE_MEMBERS = ("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention")
_MEANT_WHEN_EMPTY = ("max_tool_calls", "seed")
_ANTHROPIC = frozenset(("betas", "cache_control", "output_config", "thinking"))


def cache_hint(holder: Json) -> CacheHint | None:
    """OpenAI's breakpoint on a part, or Anthropic's in an extra member."""
    anthropic, openai = holder.get("cache_control"), holder.get("prompt_cache_breakpoint")
    if isinstance(anthropic, dict):
        return CacheHint(long=anthropic.get("ttl") == "1h")
    return CacheHint(long=openai.get("ttl") == "12h", openai=True) if isinstance(openai, dict) else None


def limit(body: Json, names: Iterable[str]) -> Setting[int] | None:
    """The limit of tokens: the first of `names` that the body has."""
    for name in names:
        if body.get(name) is None:
            continue
        value = want.integer(body, name, "")
        if value < 1:
            raise refused(name, "Input should be greater than or equal to 1")
        return Setting(value, name)
    return None


def number(body: Json, name: str) -> Setting[float] | None:
    return None if body.get(name) is None else Setting(want.number(body, name, ""), name)


def integer(body: Json, name: str, path: str = "") -> Setting[int] | None:
    return None if body.get(name) is None else Setting(want.integer(body, name, path), name)


def flag(body: Json, name: str) -> Setting[bool] | None:
    return None if body.get(name) is None else Setting(want.flag(body, name, ""), name)


def text(holder: Json, name: str, path: str = "") -> Setting[str] | None:
    found = want.optional_text(holder, name, path)
    return None if found is None else Setting(found, f"{path}.{name}" if path else name)


def service_tier(body: Json) -> Setting[str] | None:
    found = text(body, "service_tier")
    if found is not None:
        want.one_of(found.value, SERVICE_TIERS, found.path)
    return found


def effort(holder: Json, name: str, path: str = "") -> Setting[str] | None:
    found = text(holder, name, path)
    if found is not None:
        want.one_of(found.value, LEVELS, found.path)
    return found


def user(body: Json) -> Setting[str] | None:
    for name in ("safety_identifier", "user"):
        if found := text(body, name):
            return found if found.value else None
    return None


def check_moderation(body: Json) -> None:
    """A block that was asked for must not be waved through where nobody moderates. Raises Refused."""
    policy = want.optional_mapping(want.mapping(body, "moderation", ""), "policy", "moderation")
    for side in ("input", "output"):
        if want.optional_mapping(policy, side, "moderation.policy").get("mode") == "block":
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
    found = {name: value for name, value in body.items() if value is not None and not _is_anthropic(name)}
    warnings.unknown(found, known, "")


def location(holder: Json) -> dict[str, str]:
    """The members of an approximate location that are text."""
    return {key: found for key in LOCATION if isinstance(found := holder.get(key), str)}


def arguments(call: Json) -> str:
    """A call's arguments as JSON text; some clients send back the object itself."""
    found = call.get("arguments")
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
