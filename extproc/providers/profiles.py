"""The quirks of upstreams, as data: `profiles.yaml` says what differs from the defaults below (mapping 0.2)."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import msgspec
import yaml

from extproc.wire import Dialect

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
ReasoningField = Literal["reasoning_content", "reasoning", "reasoning_details"]
UnknownMembers = Literal["pass", "drop", "refuse"]


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every rule that says "if the profile supports" reads one of these."""

    name: str = "custom"
    dialect: Dialect | None = None
    """Spoken with the model where the client's own is not to be had, also when the provider does not list it."""

    # limits and parameters
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    max_output_tokens: int | None = None
    context_window: int | None = None
    sampling: bool = True
    sampling_needs_no_effort: bool = False
    """Sampling parameters pass only when the effort sent is `none` (gpt-5.x)."""
    stop: bool = True
    stop_max: int = 4
    local_stop: bool = False
    """Search the answer's text for stop sequences ourselves."""
    top_k: bool = False
    stream_usage: bool = True
    meter_usage: bool = True
    """Ask for a stream's usage also where a Chat client did not, and keep its chunk from the client."""
    stream_obfuscation_off: bool = False
    """Send stream_options.include_obfuscation=false (OpenAI proper)."""
    service_tier: bool = True
    verbosity: bool = False
    """The Chat dialect's `verbosity` is known."""
    user_field: Literal["safety_identifier", "user", "none"] = "safety_identifier"
    geos: tuple[str, ...] = ()
    extra: dict[str, Any] = {}
    """Fixed members merged into the request."""
    unknown_members: UnknownMembers = "drop"
    """Top-level members of a client of the provider's own dialect that are neither the dialect's nor an extension of a
    well-known server (wire/members.py). Rules do not see what they bring, so by default they are left out, with a
    warning, as they are where a request is translated. Those that name another model or address never pass."""

    # messages
    system_role: Literal["system", "developer"] = "system"
    system_suffix: str = ""
    strip_billing_header: bool = True
    mid_system: Literal["native", "user", "hoist"] = "native"
    prefill: Literal["reject", "append_user", "continue_final", "prefix", "pass"] = "reject"
    foreign_thinking: Literal["drop", "text"] = "drop"
    map_cache_control: bool = False
    prompt_cache_key: Literal["none", "session"] = "none"
    """`session`: prompt_cache_key from the client's x-claude-code-session-id header."""
    image_url: bool = True
    files: bool = False
    tool_result_images: Literal["user_message", "inline"] = "user_message"

    # tools
    tool_choice: bool = True
    tool_choice_any: Literal["required", "any"] = "required"
    forced_tool_choice: bool = True
    """False (Fable 5.1 and later): the model is asked in the system prompt, since a forced choice is refused."""
    parallel_tool_calls: bool = True
    tool_name_max: int = 64
    tool_id_max: int = 40
    tool_id_style: Literal["any", "alnum9"] = "any"
    tool_description_max: int | None = None

    # reasoning
    efforts: tuple[Effort, ...] = ()
    adaptive_effort: Effort | None = "medium"
    responses_efforts: tuple[Effort, ...] = ()
    """Further ones, which only the Responses API takes."""
    chat_tools: bool = True
    """Chat Completions takes function tools of this model (gpt-6-astra: only the Responses API does)."""
    chat_tools_force_effort_none: bool = False
    reasoning_style: Literal["effort", "openrouter", "deepseek", "template"] = "effort"
    template_switch: str = "enable_thinking"
    reasoning_out: tuple[ReasoningField, ...] = ("reasoning_content", "reasoning", "reasoning_details")
    reasoning_history: Literal[
        "none", "reasoning_content", "reasoning", "reasoning_details", "mistral_thinking", "gemini_signature"
    ] = "none"

    # answers
    structured_output: Literal["json_schema", "json_object", "prompt"] = "json_schema"
    response_model: Literal["request", "upstream"] = "request"
    emit_thinking: Literal["auto", "always", "never"] = "auto"
    parse_think_tags: bool = False
    missing_usage: Literal["estimate", "zero"] = "estimate"
    start_usage: Literal["zero", "estimate"] = "zero"
    on_truncated: Literal["error", "end_turn"] = "error"
    filter_as_refusal: bool = False
    hide_upstream_auth: bool = False
    """The provider's credential is the gateway's own: its 401 is a 500 to the client, who can do nothing about it."""
    max_event_bytes: int = 16 * 1024 * 1024
    ping: Literal["ping", "delta"] = "ping"
    """`delta`: an empty delta of the open block; Claude Code up to 2.1.197 counts no ping as a sign of life."""

    # Messages upstreams
    version_from: Literal["profile", "client"] = "client"
    """Whose `anthropic-version` is sent when a Messages client names one."""

    # Anthropic upstreams (mapping 4)
    anthropic_version: str = "2023-06-01"
    betas: tuple[str, ...] = ()
    """Always sent in `anthropic-beta`, besides those the client asks for."""
    default_max_tokens: int = 8192
    """Where the client named no limit, which Anthropic must be told."""
    thinking: Literal["adaptive", "enabled"] = "adaptive"
    """`enabled`: by a budget of tokens."""
    thinking_always_on: bool = False
    block_binding: Literal["default", "drop_block"] = "default"
    """`drop_block`: thinking is bound to the conversation it was part of; of thinking that we hand back the upstream
    shall drop what no longer fits, instead of refusing the request."""
    forced_choice_with_thinking: bool = True
    """False (Bedrock): thinking must be off where a tool is forced."""
    expose_reasoning: bool = True
    strict_tools: bool = True
    repair_interrupted: bool = False
    """A call without a result counts as aborted instead of refusing the request."""
    tools_for_history: bool = True
    """Declare the tools of the history where the request declares none."""
    web_search: bool = False
    mcp: bool = False
    """MCP servers are reached by the upstream (where either side speaks Responses: other pairs have no place for
    them). Anthropic wants its beta for that in `betas`."""
    compaction: bool = False
    """The upstream compacts the conversation itself, for Responses upstreams and clients. Anthropic wants its beta
    for that in `betas`."""
    url_sources: bool = True
    auto_cache: bool = False
    fast_mode: bool = False

    # Responses upstreams (mapping 6)
    include_encrypted: bool = False
    """Ask for `reasoning.encrypted_content`; OpenAI itself always sends it, Azure and older gateways do not."""
    phase: bool = False
    """Mark earlier answers as `commentary` or `final_answer` (gpt-5.3-codex and later)."""

    # counting tokens
    count_tokens: Literal["estimate", "responses", "vllm", "off"] = "estimate"
    """`responses`, `vllm`: the upstream counts, at its `/v1/responses/input_tokens` or `/tokenize`."""
    estimate_factor: float = 1.0

    strictness: Literal["lenient", "strict", "silent"] = "lenient"


_MODELS = "models"


@cache
def _raw() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((files("extproc.providers") / "profiles.yaml").read_text())
    return loaded


@cache
def shipped() -> Mapping[str, Profile]:
    """The profiles that ship with the product, by name."""
    named = {name: changes for name, changes in _raw().items() if name != _MODELS}
    return {name: msgspec.convert({**changes, "name": name}, Profile) for name, changes in named.items()}


class ModelFacts(msgspec.Struct, frozen=True):
    """A row of the table of models: what holds for a model whichever profile it has."""

    names: re.Pattern[str]
    keys: Mapping[str, Any]
    """Keys of a profile, with the values for these models."""


@cache
def models() -> tuple[ModelFacts, ...]:
    """The table; the first row that finds its pattern in a name counts. docs/models.md has each row's source."""
    return tuple(
        ModelFacts(re.compile(row["names"]), {key: value for key, value in row.items() if key != "names"})
        for row in _raw()[_MODELS]
    )


# How other vendors steer thinking has nothing to do with OpenAI's own API.
_OF_OPENAIS_API = ("efforts", "responses_efforts", "chat_tools", "chat_tools_force_effort_none")


def of_model(model: str, base: Profile) -> dict[str, Any]:
    """Keys that distinguish a model from others of its profile."""
    keys = next((row.keys for row in models() if row.names.search(model)), {})
    foreign = base.reasoning_style != "effort"
    return {key: value for key, value in keys.items() if not (foreign and key in _OF_OPENAIS_API)}


def with_overrides(base: Profile, overrides: Mapping[str, Any]) -> Profile:
    """`base` with some keys replaced. Raises msgspec.ValidationError that names the key."""
    changed = {**msgspec.to_builtins(base), **overrides}
    if isinstance(structured := changed["structured_output"], bool):
        changed["structured_output"] = "json_schema" if structured else "prompt"
    return msgspec.convert(changed, Profile)


def for_model(model: str) -> str:
    """Name of the profile that suits a model of OpenAI's, by the model's name."""
    reasoning = model.startswith(("gpt-5", "gpt-6")) or (model[:1] == "o" and model[1:2].isdigit())
    return "openai-reasoning" if reasoning and not _is_chatgpts(model) else "openai-chat"


def _is_chatgpts(model: str) -> bool:
    """gpt-5-chat-latest and the like do not reason here."""
    return "-chat" in model


# Everything OpenAI trained before its models could reason; efforts and summaries draw a 400 there.
_WITHOUT_REASONING = ("gpt-3", "gpt-4", "chatgpt-")


def for_responses(model: str) -> str:
    """Name of the profile that suits a model behind the Responses API, by the model's name."""
    plain = model.startswith(_WITHOUT_REASONING) or _is_chatgpts(model)
    return "openai-responses-plain" if plain else "openai-responses"


# Old names say the generation first or alone (`claude-3-5-haiku`, `claude-sonnet-4-20250514`).
_CLAUDE = re.compile(r"claude-(?:[a-z]+-)*(\d)(?:[-.](\d)(?!\d))?(?!\d)")
_ALWAYS_THINKING = ("fable", "mythos")


def for_claude(model: str) -> str:
    """Name of the profile that suits a model of Anthropic's, by the model's name, also as other clouds write it."""
    if any(word in model for word in _ALWAYS_THINKING):
        return "claude-always-thinking"
    found = _CLAUDE.search(model)
    if found is None:
        return "claude-adaptive"
    generation = int(found.group(1)), int(found.group(2) or 0)
    if generation < (4, 5):
        return "claude-extended-unstructured"
    return "claude-extended" if generation == (4, 5) else "claude-adaptive"
