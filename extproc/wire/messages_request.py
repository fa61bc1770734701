"""The members of a Messages request that are checked, and their types (https://platform.claude.com/docs/en/api/messages).

What is `Any` steers nothing at another provider, or is checked where it is read. Members that no Struct has are warned
of, since SDKs and clients send new ones before anybody documents them.
"""

from typing import Any

import msgspec

Json = dict[str, Any]


# https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking,
# https://platform.claude.com/docs/en/build-with-claude/extended-thinking
class Thinking(msgspec.Struct, gc=False):
    type: str
    budget_tokens: Any = None
    """An integer where the type is `enabled`."""
    display: str | None = None
    block_binding: Any = None


class Format(msgspec.Struct, gc=False):
    type: str
    schema: Json | None = None
    name: Any = None


# https://platform.claude.com/docs/en/build-with-claude/effort,
# https://platform.claude.com/docs/en/build-with-claude/structured-outputs
class OutputConfig(msgspec.Struct, gc=False):
    effort: str | None = None
    format: Format | None = None
    task_budget: Any = None


class Metadata(msgspec.Struct, gc=False):
    user_id: str | None = None


# https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use
class Choice(msgspec.Struct, gc=False):
    """The member `tool_choice`."""

    type: str
    name: Any = None
    """A string where the type is `tool`."""
    disable_parallel_tool_use: bool | None = None


class Request(msgspec.Struct, gc=False):
    """The members that a count of tokens needs, too."""

    model: str
    messages: list[Any]
    """Each is checked when it is read: those that a compaction has replaced need not be right."""
    system: str | list[Json] | None = None
    tools: list[Json] | None = None
    tool_choice: Choice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: Any = None
    """An older place of `output_config.format`."""
    metadata: Metadata | None = None
    service_tier: str | None = None
    speed: str | None = None


class Steering(msgspec.Struct, gc=False):
    """The members that steer the answer."""

    # Without a default: Anthropic refuses a request that does not name it.
    max_tokens: int
    # Not `float` alone, which would make 1.0 of 1: what is sent on has the client's number.
    temperature: int | float | None = None
    top_p: int | float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None


# What has no type besides: hints for Anthropic's own servers, about caching, deferred tools and calls by code.
# https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview
class CustomTool(msgspec.Struct, gc=False):
    """A tool that the client runs."""

    name: str
    input_schema: Json
    type: str | None = None
    description: str | None = None
    strict: bool | None = None
    input_examples: list[Any] | None = None
    cache_control: Any = None
    allowed_callers: Any = None
    defer_loading: Any = None
    eager_input_streaming: Any = None


class TurnMessage(msgspec.Struct, gc=False):
    """A message of the user or of the assistant."""

    role: str
    content: str | list[Json] | None = None


class Effort(msgspec.Struct, gc=False):
    effort: str | None = None


class SystemMessage(msgspec.Struct, gc=False):
    """Instructions in the midst of the conversation."""

    role: str
    content: str | list[Json] | None = None
    clear_at: str | None = None
    output_config: Effort | None = None


class ToolUse(msgspec.Struct, gc=False):
    type: str
    id: str
    name: str
    input: Json
    cache_control: Any = None
    caller: Any = None
    toolset_name: str | None = None


class ToolResult(msgspec.Struct, gc=False):
    type: str
    tool_use_id: str
    # Absent for a tool that returned nothing.
    content: str | list[Json] | None = None
    is_error: bool | None = None
    cache_control: Any = None
    toolset_name: Any = None
