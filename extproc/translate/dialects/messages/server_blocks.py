"""Blocks of tools that ran at Anthropic: their upstream tools do not exist here, so the history tells them as text.

Each text ends with one line feed, because assistant texts of one message join with nothing between.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from extproc.translate import want
from extproc.translate.want import Json


def _compact(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _objects(value: Any) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _inner(block: Json) -> Json:
    content = block.get("content")
    return content if isinstance(content, dict) else {}


def _failed(block: Json, inner: Json) -> str | None:
    code = inner.get("error_code")
    tool = block["type"].removesuffix("_tool_result")
    return f"[{tool} error: {code}]" if isinstance(code, str) else None


def _call(block: Json, path: str) -> str:
    return f"[{want.text(block, 'name', path)} called with {_compact(want.mapping(block, 'input', path))}]"


def _mcp_call(block: Json, path: str) -> str:
    name = f"{want.text(block, 'server_name', path)}.{want.text(block, 'name', path)}"
    return f"[{name} called with {_compact(want.mapping(block, 'input', path))}]"


def _mcp_result(block: Json, path: str) -> str:
    head = "[error]" if want.flag(block, "is_error", path) else "[result]"
    content = block.get("content")
    if isinstance(content, str):
        return f"{head}\n{content}"
    return "\n".join([head, *(_string(item.get("text")) for item in _objects(content))])


def _web_search(block: Json) -> str:
    if failed := _failed(block, _inner(block)):
        return failed
    hits = [f"- {_string(hit.get('title'))} ({_string(hit.get('url'))})" for hit in _objects(block.get("content"))]
    return "\n".join(["[web_search results]", *hits])


def _web_fetch(block: Json) -> str:
    inner = _inner(block)
    if failed := _failed(block, inner):
        return failed
    source = _inner(inner).get("source")
    text = _string(source.get("data")) if isinstance(source, dict) and source.get("type") == "text" else ""
    head = f"[web_fetch result: {_string(inner.get('url'))}]"
    return f"{head}\n{text}" if text else head


def _code(block: Json) -> str:
    inner = _inner(block)
    if failed := _failed(block, inner):
        return failed
    if "encrypted_stdout" in inner:
        return "[code execution result]"
    head = f"[code execution result, return code {_compact(inner.get('return_code'))}]"
    return f"{head}\n{_string(inner.get('stdout'))}{_string(inner.get('stderr'))}"


def _editor(block: Json) -> str:
    inner = _inner(block)
    if failed := _failed(block, inner):
        return failed
    lines = inner.get("lines")
    text = _string(inner.get("content"))
    if isinstance(lines, list):
        text = "\n".join(line for line in lines if isinstance(line, str))
    return f"[text editor result]\n{text}" if text else "[text editor result]"


def _tool_search(block: Json) -> str:
    inner = _inner(block)
    if failed := _failed(block, inner):
        return failed
    found = [_string(item.get("tool_name")) for item in _objects(inner.get("tool_references"))]
    return f"[tools found: {', '.join(found)}]"


def _advice(block: Json) -> str | None:
    inner = _inner(block)
    if failed := _failed(block, inner):
        return failed
    text = _string(inner.get("text"))
    return f"[advice]\n{text}" if text else None


_CALLS: dict[str, Callable[[Json, str], str]] = {
    "server_tool_use": _call,
    "mcp_tool_use": _mcp_call,
    "mcp_tool_result": _mcp_result,
}
_RESULTS: dict[str, Callable[[Json], str | None]] = {
    "web_search_tool_result": _web_search,
    "web_fetch_tool_result": _web_fetch,
    "code_execution_tool_result": _code,
    "bash_code_execution_tool_result": _code,
    "text_editor_code_execution_tool_result": _editor,
    "tool_search_tool_result": _tool_search,
    "advisor_tool_result": _advice,
}
TYPES = frozenset((*_CALLS, *_RESULTS))


def text(block: Json, kind: str, path: str) -> str:
    """What the block said, as text; empty when it can only be left out."""
    said = _CALLS[kind](block, path) if kind in _CALLS else _RESULTS[kind](block)
    return "" if said is None else said.rstrip("\n") + "\n"
