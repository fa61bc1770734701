"""Refuses the mistakes in a Chat Completions body that OpenAI refuses and a translator can make."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from extproc.demo.shape import usable

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
PARTS = ("text", "image_url", "input_audio", "file", "refusal")
FOREIGN = frozenset(
    (
        "system",
        "stop_sequences",
        "thinking",
        "output_config",
        "context_management",
        "anthropic_version",
        "anthropic_beta",
        "betas",
        "container",
        "mcp_servers",
        "cache_control",
    )
)
"""Members of Anthropic's dialect. Others that OpenAI does not know pass: engines add their own."""
DEEPSEEK_THINKING = ({"type": "enabled"}, {"type": "disabled"})
"""DeepSeek's member of that name has no budget."""


class Problem(msgspec.Struct, frozen=True):
    message: str
    param: str | None = None
    code: str | None = None


def decode(raw: bytes) -> dict[str, Any] | Problem:
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Problem("We could not parse the JSON body of your request.")
    if not isinstance(body, dict):
        return Problem("Invalid type for the request body: expected an object.", None, "invalid_type")
    return next((problem for rule in RULES for problem in rule(body)), None) or body


def _model(body: dict[str, Any]) -> Iterator[Problem]:
    if not isinstance(body.get("model"), str) or not body["model"]:
        yield Problem("you must provide a model parameter", "model")


def _foreign(body: dict[str, Any]) -> Iterator[Problem]:
    for name, value in body.items():
        if name in FOREIGN and not (name == "thinking" and value in DEEPSEEK_THINKING):
            yield Problem(f"Unknown parameter: '{name}'.", name, "unknown_parameter")


def _limits(body: dict[str, Any]) -> Iterator[Problem]:
    for name in ("max_tokens", "max_completion_tokens"):
        value = body.get(name, 1)
        if value is not None and (not isinstance(value, int) or value < 1):
            yield Problem(f"Invalid '{name}': integer below minimum value.", name, "integer_below_min_value")
    if "stream_options" in body and not body.get("stream"):
        yield Problem("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")


def _messages(body: dict[str, Any]) -> Iterator[Problem]:
    messages = body.get("messages")
    if not isinstance(messages, list):
        yield Problem("Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
    elif not messages:
        yield Problem("Invalid 'messages': empty array.", "messages", "empty_array")
    else:
        for index, message in enumerate(messages):
            yield from _message(f"messages[{index}]", message)


def _message(path: str, message: Any) -> Iterator[Problem]:
    if not isinstance(message, dict):
        yield Problem(f"Invalid type for '{path}': expected an object.", path, "invalid_type")
        return
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        yield _not_one_of(f"{path}.role", role, ROLES)
    if isinstance(content, list):
        for index, part in enumerate(content):
            kind = part.get("type") if isinstance(part, dict) else None
            if kind not in PARTS:
                yield _not_one_of(f"{path}.content[{index}]", kind, PARTS)
            elif "cache_control" in part:
                where = f"{path}.content[{index}].cache_control"
                yield Problem(f"Unknown parameter: '{where}'.", where, "unknown_parameter")
    elif not isinstance(content, str) and not (role == "assistant" and message.get("tool_calls")):
        yield Problem(f"Invalid value for 'content': expected a string, got {content!r:.20}.", f"{path}.content")


def _not_one_of(path: str, value: object, allowed: Iterable[str]) -> Problem:
    return Problem(f"Invalid value: '{value}'. Supported values are: {', '.join(allowed)}.", path, "invalid_value")


def _pairs(body: dict[str, Any]) -> Iterator[Problem]:
    """Yields mistakes: a call without a result right after its message, or a result without a call."""
    waiting: set[str] = set()
    for index, message in enumerate(body["messages"]):
        path = f"messages[{index}]"
        if message["role"] == "tool":
            if message.get("tool_call_id") not in waiting:
                text = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
                yield Problem(f"Invalid parameter: {text}", f"{path}.role")
            waiting.discard(message.get("tool_call_id"))
            continue
        if waiting:
            yield _unanswered(path, waiting)
        waiting = {call["id"] for call in message.get("tool_calls") or []}
    if waiting:
        yield _unanswered("messages", waiting)


def _unanswered(path: str, ids: set[str]) -> Problem:
    text = "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'."
    return Problem(f"{text} The following tool_call_ids did not have response messages: {', '.join(sorted(ids))}", path)


def _calls(body: dict[str, Any]) -> Iterator[Problem]:
    for index, message in enumerate(body["messages"]):
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list) or not all(_is_call(call) for call in calls):
            path = f"messages[{index}].tool_calls"
            yield Problem(f"Invalid value for '{path}'.", path, "invalid_value")


def _is_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or call.get("type") != "function" or not isinstance(call.get("id"), str):
        return False
    return isinstance(function.get("name"), str) and isinstance(function.get("arguments"), str)


def _tools(body: dict[str, Any]) -> Iterator[Problem]:
    tools = body.get("tools")
    if tools is not None and (not isinstance(tools, list) or not tools):
        yield Problem("Invalid 'tools': empty array. Expected an array with minimum length 1.", "tools", "empty_array")
        return
    for index, tool in enumerate(tools or []):
        function = tool.get("function") if isinstance(tool, dict) else None
        path = f"tools[{index}].function"
        if not isinstance(function, dict) or tool.get("type") != "function":
            yield Problem(f"Missing required parameter: '{path}'.", path, "missing_required_parameter")
        elif not isinstance(function.get("name"), str) or not NAME.fullmatch(function["name"]):
            yield Problem(f"Invalid '{path}.name': expected a pattern ^[a-zA-Z0-9_-]+$.", f"{path}.name")
        elif not isinstance(parameters := function.get("parameters", {}), dict) or not usable(parameters):
            yield Problem(f"Invalid schema for function '{function['name']}'.", f"{path}.parameters")
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and not isinstance(choice.get("function"), dict):
        yield Problem("Missing required parameter: 'tool_choice.function'.", "tool_choice.function")
    if choice is not None and not tools:
        yield Problem("'tool_choice' is only allowed when 'tools' are specified.", "tool_choice")


def _shapes(body: dict[str, Any]) -> Iterator[Problem]:
    for name, kind in (("stream_options", dict), ("response_format", dict), ("tool_choice", (str, dict))):
        if body.get(name) is not None and not isinstance(body[name], kind):
            yield Problem(f"Invalid type for '{name}'.", name, "invalid_type")
    form = (body.get("response_format") or {}).get("json_schema")
    if form is not None and not (isinstance(form, dict) and usable(form.get("schema"))):
        yield Problem("Invalid type for 'response_format.json_schema'.", "response_format.json_schema", "invalid_type")


RULES: tuple[Callable[[dict[str, Any]], Iterator[Problem]], ...] = (
    _model, _foreign, _shapes, _limits, _messages, _calls, _pairs, _tools,
)  # fmt: skip
