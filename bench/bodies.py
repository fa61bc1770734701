"""Requests of known size: 1 KB of plain talk, and 61 KB as Claude Code sends them."""

import json
from typing import Any

from bench.mock import PACED

Json = dict[str, Any]


def small(*, stream: bool = False, model: str = "claude-x") -> bytes:
    return _sized({"model": model, "max_tokens": 1000, "messages": [_user("w" * 800)], "stream": stream}, 1024)


def paced() -> bytes:
    return json.dumps({"model": "claude-x", "max_tokens": 1000, "messages": [_user(PACED)], "stream": True}).encode()


def large(model: str = "claude-x") -> bytes:
    """24 tools of 1.2 KB, a system prompt, a tool loop, and a last user turn that makes up the size."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "tool_1", "input": {"path": "a.txt"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "line\n" * 400}
    messages = [_user("Read a.txt"), {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    system = [{"type": "text", "text": "Follow the rules. " * 500, "cache_control": {"type": "ephemeral"}}]
    tools = [_tool(n) for n in range(24)]
    body = {"model": model, "max_tokens": 32000, "system": system, "tools": tools, "messages": messages}
    return _sized(body, 61 * 1024)


def chat() -> bytes:
    """What a Chat Completions client sends; the provider knows the model by the same name."""
    tools = [{"type": "function", "function": {"name": f"tool_{n}", "parameters": _schema()}} for n in range(24)]
    messages = [{"role": "system", "content": "Follow the rules. " * 500}, _user("Read a.txt")]
    return _sized({"model": "gpt-4o-mini", "messages": messages, "tools": tools}, 61 * 1024)


def _schema() -> Json:
    properties = {f"argument_{i}": {"type": "string", "description": "What it is for. " * 4} for i in range(8)}
    return {"type": "object", "properties": properties, "required": ["argument_0"], "additionalProperties": False}


def _tool(n: int) -> Json:
    description = "Does one thing and does it well. " * 8
    return {"name": f"tool_{n}", "description": description, "input_schema": _schema()}


def _user(text: str) -> Json:
    return {"role": "user", "content": text}


def _sized(body: Json, size: int) -> bytes:
    missing = size - len(json.dumps(body))
    last = body["messages"][-1]
    if isinstance(last["content"], str):
        last["content"] += "w" * missing
    else:
        last["content"].append({"type": "text", "text": "w" * (missing - 30)})
    return json.dumps(body, separators=(",", ":")).encode()
