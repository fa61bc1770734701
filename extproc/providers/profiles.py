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
    """The quirks of a provider's server or a model. Rules of translation read these keys (mapping 0.2)."""

    name: str = "custom"
    dialect: Dialect | None = None
    """The dialect to use with this model where the client's own is not available, also if the provider does not list
    it."""

    # limits and parameters
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    """The member of a Chat request that limits the answer."""
    max_output_tokens: int | None = None
    """The most tokens of one answer; a client that asks for more gets as much."""
    context_window: int | None = None
    """Tokens that the model takes."""
    sampling: bool = True
    """`temperature`, `top_p` and the like are accepted."""
    sampling_needs_no_effort: bool = False
    """Sampling parameters pass only when the effort sent is `none` (gpt-5.x)."""
    stop: bool = True
    """Stop sequences are accepted."""
    stop_max: int = 4
    """Most stop sequences that are accepted."""
    local_stop: bool = False
    """Find stop sequences in the answer's text here instead of sending them."""
    top_k: bool = False
    """`top_k` is accepted."""
    stream_usage: bool = True
    """`stream_options.include_usage` is accepted."""
    meter_usage: bool = True
    """Ask for the usage of a stream even if a Chat client did not, and leave the chunk with it out of the answer."""
    stream_obfuscation_off: bool = False
    """Send `stream_options.include_obfuscation: false` (OpenAI's own API)."""
    service_tier: bool = True
    """`service_tier` is accepted."""
    verbosity: bool = False
    """`verbosity` of Chat Completions is accepted."""
    user_field: Literal["safety_identifier", "user", "none"] = "safety_identifier"
    """The member that carries a Messages client's `metadata.user_id`."""
    geos: tuple[str, ...] = ()
    """Values of `inference_geo` that the provider keeps to; a request for another place is refused."""
    extra: dict[str, Any] = {}
    """Fixed members merged into the request."""
    unknown_members: UnknownMembers = "drop"
    """What becomes of unknown top-level members of a request that passes in its own dialect. Rules do not see their
    content, so by default they are left out with a warning. Members that name another model or address never pass."""

    # messages
    system_role: Literal["system", "developer"] = "system"
    """The role of the system prompt."""
    system_suffix: str = ""
    """Text appended to the system prompt."""
    strip_billing_header: bool = True
    """Leave out Claude Code's billing line in the system prompt: it changes with each request and so defeats caches."""
    mid_system: Literal["native", "user", "hoist"] = "native"
    """Where instructions within a conversation go: `native` leaves them in place, `user` puts them into a user turn,
    `hoist` into the system prompt."""
    prefill: Literal["reject", "append_user", "continue_final", "prefix", "pass"] = "reject"
    """What becomes of an assistant turn at the end, which the model is to continue (mapping 1.4)."""
    foreign_thinking: Literal["drop", "text"] = "drop"
    """`text`: thinking of another model goes to this one as text."""
    map_cache_control: bool = False
    """`cache_control` becomes OpenAI's cache breakpoints."""
    prompt_cache_key: Literal["none", "session"] = "none"
    """`session`: `prompt_cache_key` is taken from Claude Code's header `x-claude-code-session-id`."""
    image_url: bool = True
    """Images by URL are accepted; otherwise only those that the request contains."""
    files: bool = False
    """PDFs are accepted as files."""
    tool_result_images: Literal["user_message", "inline"] = "user_message"
    """Where the images of a tool's result go: into the next user message, or beside its text."""

    # tools
    tool_choice: bool = True
    """`tool_choice` is accepted."""
    tool_choice_any: Literal["required", "any"] = "required"
    """The word for a choice of any tool; Mistral's is `any`."""
    forced_tool_choice: bool = True
    """false: the model refuses a forced choice (Fable 5.1 and later), so the system prompt names the tool instead."""
    parallel_tool_calls: bool = True
    """`parallel_tool_calls` is accepted."""
    tool_name_max: int = 64
    """Characters of a tool's name; longer names are shortened, and restored in the answer."""
    tool_id_max: int = 40
    """Characters of a call's id; longer ids are replaced by a digest."""
    tool_id_style: Literal["any", "alnum9"] = "any"
    """`alnum9`: ids of nine letters and digits (Mistral)."""
    tool_description_max: int | None = None
    """Characters of a tool's description; a longer one stands in the system prompt as a whole."""

    # reasoning
    efforts: tuple[Effort, ...] = ()
    """Reasoning efforts that the model accepts; another becomes the nearest of these."""
    adaptive_effort: Effort | None = "medium"
    """The effort for a client that leaves it to the model (`thinking: {type: adaptive}`)."""
    responses_efforts: tuple[Effort, ...] = ()
    """Further efforts, which only the Responses API accepts."""
    chat_tools: bool = True
    """Function tools are accepted on Chat Completions (for gpt-6-astra only on the Responses API)."""
    chat_tools_force_effort_none: bool = False
    """With tools on Chat Completions the only effort is `none` (gpt-5.4 and gpt-5.5)."""
    reasoning_style: Literal["effort", "openrouter", "deepseek", "template"] = "effort"
    """How thinking is asked for: OpenAI's `reasoning_effort`, or the members of another vendor (mapping 1.9)."""
    template_switch: str = "enable_thinking"
    """The switch of the chat template, for `reasoning_style: template`."""
    reasoning_out: tuple[ReasoningField, ...] = ("reasoning_content", "reasoning", "reasoning_details")
    """Members of the answer that hold reasoning; the first with text counts."""
    reasoning_history: Literal[
        "none",
        "reasoning_content",
        "reasoning",
        "reasoning_details",
        "mistral_thinking",
        "gemini_signature",
    ] = "none"
    """In which form the model's own reasoning goes back to it on the next turn."""

    # answers
    structured_output: Literal["json_schema", "json_object", "prompt"] = "json_schema"
    """How an answer by a JSON schema is asked for; `prompt`: in the system prompt. false is `prompt`."""
    response_model: Literal["request", "upstream"] = "request"
    """Which name of the model stands in the answer: the one that was requested, or the provider's."""
    emit_thinking: Literal["auto", "always", "never"] = "auto"
    """Whether a Messages client gets thinking blocks; `auto`: as it asked."""
    parse_think_tags: bool = False
    """Read `<think>...</think>` at the beginning of the text as reasoning."""
    missing_usage: Literal["estimate", "zero"] = "estimate"
    """What counts where the provider reports no tokens."""
    start_usage: Literal["zero", "estimate"] = "zero"
    """Input tokens in `message_start`, before the provider has reported them."""
    on_truncated: Literal["error", "end_turn"] = "error"
    """What becomes of a stream that ends without a finish reason; a cut tool call is an error in any case."""
    filter_as_refusal: bool = False
    """A provider's content filter ends the answer with `refusal`, instead of a 400."""
    hide_upstream_auth: bool = False
    """A 401 of the provider becomes a 500: the refused key is the gateway's, and the client can do nothing about it."""
    max_event_bytes: int = 16 * 1024 * 1024
    """Bytes of one event of a stream; beyond that the answer is an error."""
    ping: Literal["ping", "delta"] = "ping"
    """The keep-alive event. `delta`: an empty delta of the open block, for Claude Code up to 2.1.197, which ignores
    pings."""

    # Messages upstreams
    version_from: Literal["profile", "client"] = "client"
    """The `anthropic-version` that is sent if a Messages client names one: the client's or the profile's."""

    # Anthropic upstreams (mapping 4)
    anthropic_version: str = "2023-06-01"
    """`anthropic-version` that is sent."""
    betas: tuple[str, ...] = ()
    """Betas that are always sent in `anthropic-beta`, besides the client's."""
    accepted_betas: tuple[str, ...] | None = None
    """Betas that the provider's cloud accepts, by its own names; others are left out with a warning. Absent: all."""
    renamed_betas: dict[str, str] = {}
    """Anthropic's name of a beta -> the cloud's."""
    refused_members: tuple[str, ...] = ()
    """Top-level members that the cloud refuses; they are left out with a warning."""
    default_max_tokens: int = 8192
    """`max_tokens` for clients that set no limit; Anthropic requires one."""
    thinking: Literal["adaptive", "enabled"] = "adaptive"
    """How thinking is switched on; `enabled`: with a budget of tokens."""
    thinking_always_on: bool = False
    """Thinking cannot be switched off."""
    block_binding: Literal["default", "drop_block"] = "default"
    """`drop_block`: thinking is bound to its conversation, so the provider is asked to drop thinking that no longer
    fits instead of refusing the request."""
    forced_choice_with_thinking: bool = True
    """false: thinking must be off when a tool is forced (Bedrock)."""
    expose_reasoning: bool = True
    """Chat clients get Claude's thinking as `reasoning_content`."""
    strict_tools: bool = True
    """Tools with `strict: true` are accepted."""
    repair_interrupted: bool = False
    """A tool call without a result counts as aborted; otherwise it refuses the request."""
    tools_for_history: bool = True
    """Declare the tools that occur in the history if the request declares none."""
    web_search: bool = False
    """The provider searches the web itself."""
    mcp: bool = False
    """The provider calls MCP servers itself; only if the client or the provider speaks Responses. Anthropic requires
    its beta for it in `betas`."""
    compaction: bool = False
    """The provider compacts the conversation itself; for Responses providers and clients. Anthropic requires its beta
    for it in `betas`."""
    url_sources: bool = True
    """Images and documents by URL are accepted."""
    auto_cache: bool = False
    """Requests of Chat clients ask for caching of the whole prompt."""
    fast_mode: bool = False
    """`speed: fast` is accepted."""

    # Responses upstreams (mapping 6)
    include_encrypted: bool = False
    """Ask for `reasoning.encrypted_content`, which Azure and older gateways send only on request."""
    phase: bool = False
    """Mark earlier answers as `commentary` or `final_answer` (gpt-5.3-codex and later)."""

    # counting tokens
    count_tokens: Literal["estimate", "responses", "vllm", "off"] = "estimate"
    """`responses`, `vllm`: the provider counts, at `/v1/responses/input_tokens` or `/tokenize`."""
    estimate_factor: float = 1.0
    """Multiplies an estimated count."""

    strictness: Literal["lenient", "strict", "silent"] = "lenient"
    """`lenient`: what is not carried over is a warning. `strict`: it is a 400. `silent`: the warning is only logged."""


_MODELS, _CLOUDS = "models", "clouds"


@cache
def _raw() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((files("extproc.providers") / "profiles.yaml").read_text())
    return loaded


@cache
def shipped() -> Mapping[str, Profile]:
    """The profiles that ship with the product, by name."""
    named = {name: changes for name, changes in _raw().items() if name not in (_MODELS, _CLOUDS)}
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


def of_cloud(cloud: str | None, dialect: Dialect) -> Mapping[str, Any]:
    """Keys that hold for a dialect at a cloud, whichever profile its models have."""
    found: Mapping[str, Any] = _raw()[_CLOUDS].get(cloud, {}).get(dialect, {})
    return found


# How other vendors steer thinking has nothing to do with OpenAI's own API.
_OF_OPENAIS_API = ("efforts", "responses_efforts", "chat_tools", "chat_tools_force_effort_none")


def of_model(model: str, base: Profile) -> dict[str, Any]:
    """Keys that distinguish a model from others of its profile."""
    keys = next((row.keys for row in models() if row.names.search(model)), {})
    foreign = base.reasoning_style != "effort"
    return {key: value for key, value in keys.items() if not (foreign and key in _OF_OPENAIS_API)}


def profile_keys(profile: str | dict[str, Any] | None) -> dict[str, Any]:
    """The keys that the configuration gives, whichever way it is written; `base`: the name of a profile."""
    if profile is None:
        return {}
    if isinstance(profile, str):
        return {"base": profile}
    keys = dict(profile)
    if "name" in keys:
        keys.setdefault("base", keys.pop("name"))
    return keys


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


# The dialects whose name alone tells the vendor.
_BY_DIALECT = {"messages": for_claude, "responses": for_responses}


def by_name(model: str, dialect: Dialect, *, openai: bool) -> str:
    """Name of the profile that suits a model, by its name and the dialect that it is asked in. `openai`: by OpenAI
    itself."""
    if dialect in _BY_DIALECT:
        return _BY_DIALECT[dialect](model)
    return for_model(model) if openai else "generic"
