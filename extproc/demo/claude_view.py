"""Converts a Messages request to the form that `plan.py` reads: turns, tools and formats as in Chat Completions."""

from typing import Any

import msgspec

from extproc.demo.script import text_of

Json = dict[str, Any]
CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def view(body: Json) -> Json:
    output_format = (body.get("output_config") or {}).get("format") or {}
    schema = {"schema": output_format.get("schema")}
    return {
        "model": body["model"],
        "messages": [turn for message in body["messages"] for turn in _turns(message)],
        "tools": [_function(tool) for tool in body.get("tools") or [] if "input_schema" in tool],
        "tool_choice": _choice(body.get("tool_choice") or {"type": "auto"}),
        "response_format": {"type": "json_schema", "json_schema": schema} if output_format else {},
    }


def _turns(message: Json) -> list[Json]:
    content = message["content"]
    if isinstance(content, str):
        return [message]
    results = [block for block in content if block["type"] == "tool_result"]
    rest = [block for block in content if block["type"] != "tool_result"]
    turns: list[Json] = [{"role": "tool", "content": _result(block)} for block in results]
    return turns + ([{"role": message["role"], "content": rest}] if rest or not results else [])


def _result(block: Json) -> str:
    return text_of(block.get("content"))


def _function(tool: Json) -> Json:
    return {"type": "function", "function": {"name": tool["name"], "parameters": tool["input_schema"]}}


def _choice(choice: Json) -> Any:
    if choice["type"] == "tool":
        return {"type": "function", "function": {"name": choice.get("name")}}
    return CHOICES[choice["type"]]


def cited(body: Json) -> Json | None:
    """Returns the first document with citations enabled."""
    blocks = [b for m in body["messages"] if isinstance(m["content"], list) for b in m["content"]]
    return next((block for block in blocks if block["type"] == "document" and _wants_citations(block)), None)


def _wants_citations(document: Json) -> bool:
    citations = document.get("citations")
    return isinstance(citations, dict) and citations.get("enabled") is True


def document_text(document: Json) -> str:
    source = document.get("source")
    return str(source.get("data", "")) if isinstance(source, dict) and source.get("type") == "text" else ""


def thinking(body: Json) -> str:
    """Returns whether thinking is to be `shown` or `omitted`; an empty string without thinking."""
    setting = body.get("thinking") or {}
    if setting.get("type") not in ("enabled", "adaptive"):
        return ""
    return "omitted" if setting.get("display") == "omitted" else "shown"


def size(body: Json) -> int:
    """Returns the bytes of a request."""
    return len(msgspec.json.encode(body))
