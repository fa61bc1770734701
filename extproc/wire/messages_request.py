"""The members of a Messages request that are checked, and their types (https://platform.claude.com/docs/en/api/messages).

What is `Any` steers nothing at another provider, or is checked where it is read. Members that no Struct has are warned
of, since SDKs and clients send new ones before anybody documents them.
"""

from typing import Any

import msgspec

Json = dict[str, Any]


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


class OutputConfig(msgspec.Struct, gc=False):
    effort: str | None = None
    format: Format | None = None
    task_budget: Any = None


class Metadata(msgspec.Struct, gc=False):
    user_id: str | None = None


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

    max_tokens: int
    temperature: int | float | None = None
    top_p: int | float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None


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
    content: str | list[Json] | None = None
    is_error: bool | None = None
    cache_control: Any = None
    toolset_name: Any = None
