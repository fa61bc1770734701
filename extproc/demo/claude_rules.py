"""Refuses the mistakes in a Messages body that Anthropic refuses and a translator or client can make, in its words."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from extproc.demo.claude_forms import signed
from extproc.demo.shape import usable

Json = dict[str, Any]

NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
KNOWN = frozenset(
    (
        "model", "messages", "max_tokens", "system", "stop_sequences", "temperature", "top_p", "top_k", "stream",
        "tools", "tool_choice", "thinking", "output_config", "output_format", "metadata", "service_tier", "speed",
        "inference_geo", "cache_control", "container", "context_management", "mcp_servers", "thread", "diagnostics",
    )
)  # fmt: skip
ROLES = ("user", "assistant", "system")
OF_USER = frozenset(
    ("text", "image", "document", "search_result", "tool_result", "container_upload", "tool_addition", "tool_removal")
)
OF_ASSISTANT = frozenset(
    ("text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "mcp_tool_use", "mcp_tool_result",
     "compaction", "fallback")
)  # fmt: skip
TYPES: dict[str, type | tuple[type, ...]] = {
    "system": (str, list), "tools": list, "tool_choice": dict, "thinking": dict, "output_config": dict,
    "stop_sequences": list, "stream": bool, "metadata": dict,
}  # fmt: skip
OF_BLOCK: dict[str, type | tuple[type, ...]] = {
    "text": str, "source": (dict, str), "citations": (dict, list), "content": (str, list, dict), "tool_use_id": str,
    "id": str, "name": str, "thinking": str, "signature": str, "data": str, "title": str,
}  # fmt: skip
REQUIRED = "Field required"


def decode(raw: bytes, *, counting: bool = False) -> Json | str:
    """Returns the body, or a sentence about its mistake. `counting`: the request is for a token count."""
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "The request body is not valid JSON"
    if not isinstance(body, dict):
        return "Input should be a valid dictionary or object to extract fields from"
    try:
        rules = [_no_limit if counting and rule is _limit else rule for rule in RULES]
        return next((problem for rule in rules for problem in rule(body)), None) or body
    except (TypeError, AttributeError, KeyError):
        return "Input should be a valid request"


def _shape(body: Json) -> Iterator[str]:
    for name in body:
        if name not in KNOWN:
            yield f"{name}: Extra inputs are not permitted"
    yield from _typed("", body, TYPES)
    yield from (f"tools.{at}: Input should be an object" for at, tool in _others(body.get("tools")))
    output_format = (body.get("output_config") or {}).get("format") or {}
    if not isinstance(output_format, dict) or not usable(output_format.get("schema") or {}):
        yield "output_config.format: JSON schema is invalid"
    if not isinstance(body.get("model"), str):
        yield f"model: {'Input should be a valid string' if 'model' in body else REQUIRED}"
    elif not body["model"]:
        yield "model: String should have at least 1 character"
    if not isinstance(body.get("messages"), list):
        yield f"messages: {'Input should be a valid list' if 'messages' in body else REQUIRED}"
    elif not body["messages"]:
        yield "messages: at least one message is required"


def _typed(path: str, found: Json, types: dict[str, type | tuple[type, ...]]) -> Iterator[str]:
    for name, expected in types.items():
        if found.get(name) is not None and not isinstance(found[name], expected):
            names = [one.__name__ for one in (expected if isinstance(expected, tuple) else (expected,))]
            yield f"{path}{name}: Input should be a valid {' or '.join(names)}"


def _others(found: Any) -> Iterator[tuple[int, Any]]:
    """Yields the items of a list of objects that are not objects, with their index."""
    for at, item in enumerate(found if isinstance(found, list) else []):
        if not isinstance(item, dict):
            yield at, item


def _limit(body: Json) -> Iterator[str]:
    limit = body.get("max_tokens")
    if "max_tokens" not in body:
        yield f"max_tokens: {REQUIRED}"
    elif not isinstance(limit, int) or isinstance(limit, bool):
        yield "max_tokens: Input should be a valid integer"
    elif limit < 1:
        yield "max_tokens: Input should be greater than or equal to 1"


def _no_limit(body: Json) -> Iterator[str]:
    if "max_tokens" in body:
        yield "max_tokens: Extra inputs are not permitted"


def _sampling(body: Json) -> Iterator[str]:
    for name in ("temperature", "top_p"):
        value = body.get(name, 0)
        if value is not None and (not isinstance(value, int | float) or not 0 <= value <= 1):
            yield f"{name}: Input should be less than or equal to 1"


def _thinking(body: Json) -> Iterator[str]:
    thinking = body.get("thinking") or {}
    if thinking.get("type") != "enabled":
        return
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int):
        yield f"thinking.enabled.budget_tokens: {REQUIRED}"
    elif budget < 1024:
        yield "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
    elif budget >= body.get("max_tokens", budget + 1):
        yield "`max_tokens` must be greater than `thinking.budget_tokens`"
    if body.get("temperature", 1) != 1:
        yield "`temperature` may only be set to 1 when thinking is enabled"
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        yield "Thinking may not be enabled when tool_choice forces tool use."


def _messages(body: Json) -> Iterator[str]:
    for index, message in enumerate(body["messages"]):
        path = f"messages.{index}"
        if not isinstance(message, dict):
            yield f"{path}: Input should be a valid dictionary or object to extract fields from"
        elif message.get("role") not in ROLES:
            yield f"{path}.role: Input should be 'user' or 'assistant'"
        elif "content" not in message:
            yield f"{path}.content: {REQUIRED}"
        elif not isinstance(message["content"], str | list):
            yield f"{path}.content: Input should be a valid list"
        else:
            last = index == len(body["messages"]) - 1
            yield from _content(path, message["role"], message["content"], last=last)
    if next((message["role"] for message in body["messages"] if message["role"] != "system"), "") == "assistant":
        yield 'messages: first message must use the "user" role'


def _content(path: str, role: str, content: Any, *, last: bool) -> Iterator[str]:
    if not content and not (last and role == "assistant"):
        yield f"{path}: all messages must have non-empty content except for the optional final assistant message"
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    for at, block in enumerate(blocks):
        yield from _block(f"{path}.content.{at}", role, block, empty=isinstance(content, str))
    text = blocks[-1].get("text", "") if blocks else ""
    if last and role == "assistant" and text != text.rstrip():
        yield "messages: final assistant content cannot end with trailing whitespace"


def _block(path: str, role: str, block: Any, *, empty: bool) -> Iterator[str]:
    kind = block.get("type") if isinstance(block, dict) else None
    allowed = OF_ASSISTANT if role == "assistant" else OF_USER
    results = role == "assistant" and str(kind).endswith("_tool_result")
    if isinstance(block, dict):
        yield from _typed(f"{path}.{kind}.", block, OF_BLOCK)
        yield from (f"{path}.{kind}.content.{at}: Input should be an object" for at, _ in _others(block.get("content")))
    if kind not in allowed and not results:
        names = ", ".join(f"'{name}'" for name in sorted(allowed))
        yield f"{path}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {names}"
    elif kind == "text" and not empty and not block.get("text"):
        yield "messages: text content blocks must be non-empty"
    elif kind == "thinking" and signed(block.get("signature")) not in {block.get("thinking"), *_hidden(block)}:
        yield f"{path}: Invalid `signature` in `thinking` block"
    elif kind == "redacted_thinking" and signed(block.get("data")) is None:
        yield f"{path}: Invalid `data` in `redacted_thinking` block"
    elif kind == "tool_use" and not isinstance(block.get("input"), dict):
        yield f"{path}.tool_use.input: Input should be a valid dictionary"
    elif kind == "tool_use" and not NAME.fullmatch(str(block.get("name", ""))):
        yield f"{path}.tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"


def _hidden(block: Json) -> set[str | None]:
    """A thought that was not shown comes back empty."""
    thought = signed(block.get("signature"))
    return {thought} if thought is not None and block.get("thinking") == "" else set()


def _ids(message: Json, kind: str, member: str) -> list[str]:
    content = message["content"]
    return [b.get(member) for b in content if b["type"] == kind] if isinstance(content, list) else []


def _pairs(body: Json) -> Iterator[str]:
    """Yields mistakes: a call without a result in the next message, or a result without a call."""
    turns = [(at, message) for at, message in enumerate(body["messages"]) if message["role"] != "system"]
    waiting: list[str] = []
    for at, message in turns:
        path = f"messages.{at}"
        answered = _ids(message, "tool_result", "tool_use_id")
        for one in answered:
            if one not in waiting:
                yield (
                    f"{path}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: {one}. Each"
                    " `tool_result` block must have a corresponding `tool_use` block in the previous message."
                )
        if missing := [one for one in waiting if one not in answered]:
            yield _unanswered(at - 1, missing)
        waiting = _ids(message, "tool_use", "id")
        if twice := [one for one, times in Counter(waiting).items() if times > 1]:
            yield f"{path}: `tool_use` ids must be unique: {twice[0]}"
    if waiting and turns[-1][1]["role"] == "assistant":
        yield _unanswered(turns[-1][0], waiting)


def _unanswered(at: int, ids: list[str]) -> str:
    return (
        f"messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(ids)}."
        " Each `tool_use` block must have a corresponding `tool_result` block in the next message."
    )


def _begins_with_thinking(body: Json) -> Iterator[str]:
    """Yields mistakes: with a thinking budget, a turn whose calls are answered must begin with its thinking."""
    if (body.get("thinking") or {}).get("type") != "enabled":
        return
    turns = list(enumerate(body["messages"]))
    if not _ids(turns[-1][1], "tool_result", "tool_use_id"):
        return
    at, last = next(((at, m) for at, m in reversed(turns) if m["role"] == "assistant"), (0, None))
    first = last["content"][0]["type"] if last and isinstance(last["content"], list) else "text"
    if first not in ("thinking", "redacted_thinking"):
        yield (
            f"messages.{at}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{first}`. When"
            " `thinking` is enabled, a final `assistant` message must start with a thinking block."
        )


def _tools(body: Json) -> Iterator[str]:
    tools = body.get("tools") or []
    for at, tool in enumerate(tools):
        if tool.get("type", "custom") == "custom":
            yield from _tool(f"tools.{at}.custom", tool)
    if [name for name, times in Counter(tool.get("name") for tool in tools).items() if name and times > 1]:
        yield "tools: Tool names must be unique."


def _tool(path: str, tool: Json) -> Iterator[str]:
    schema = tool.get("input_schema")
    if not NAME.fullmatch(str(tool.get("name", ""))):
        yield f"{path}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
    if not isinstance(schema, dict):
        yield f"{path}.input_schema: {REQUIRED}"
    elif schema.get("type") != "object":
        yield f"{path}.input_schema.type: {'Input should be' if 'type' in schema else REQUIRED + ':'} 'object'"
    elif not usable(schema):
        yield f"{path}.input_schema: JSON schema is invalid"


def _choice(body: Json) -> Iterator[str]:
    tools, choice = body.get("tools") or [], body.get("tool_choice")
    if choice is None:
        return
    if choice.get("type") not in ("auto", "any", "tool", "none"):
        yield f"tool_choice: Input tag '{choice.get('type')}' does not match any of the expected tags"
    elif not tools:
        yield "tool_choice may only be specified while providing tools."
    elif choice["type"] == "tool" and choice.get("name") not in {tool.get("name") for tool in tools}:
        yield f"Tool '{choice.get('name')}' not found in provided tools"


def _breakpoints(body: Json) -> Iterator[str]:
    found = _count(body.get("tools")) + _count(body.get("system")) + _count(body["messages"])
    if found > 4:
        yield f"A maximum of 4 blocks with cache_control may be provided. Found {found}."


def _count(value: Any) -> int:
    if isinstance(value, list):
        return sum(_count(item) for item in value)
    if not isinstance(value, dict):
        return 0
    return (value.get("cache_control") is not None) + _count(value.get("content"))


RULES: tuple[Callable[[Json], Iterator[str]], ...] = (
    _shape, _limit, _sampling, _thinking, _messages, _pairs, _begins_with_thinking, _tools,
    _choice, _breakpoints,
)  # fmt: skip
