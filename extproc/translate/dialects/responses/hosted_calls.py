"""Calls that OpenAI's own tools have made: they cannot be calls here, but what they gave can be read (mapping 6.5)."""

from collections.abc import Iterable
from typing import Any

import msgspec

from extproc.translate.pair import Json

# What the tool was told, and what it gave, for calls that hold both.
_WHOLE = {
    "mcp_call": ("arguments", "output"),
    "code_interpreter_call": ("code", "outputs"),
    "file_search_call": ("queries", "results"),
}
# What the tool was told, for calls whose result is an item of its own.
_CALLS = {
    "computer_call": "action",
    "shell_call": "action",
    "apply_patch_call": "operation",
    "tool_search_call": "arguments",
    "program": "code",
}
_RESULTS = {
    "computer_call_output": "output",
    "shell_call_output": "output",
    "apply_patch_call_output": "output",
    "tool_search_output": "tools",
    "program_output": "result",
}


def answered(items: Iterable[Any]) -> frozenset[str]:
    """Ids of the calls that have a result."""
    results = (item for item in items if isinstance(item, dict) and str(item.get("type")) in _RESULTS)
    return frozenset(call for item in results if isinstance(call := item.get("call_id"), str))


def text(item: Json, kind: str, answered: frozenset[str]) -> str:
    """Empty where there is nothing to be read."""
    name = kind.removesuffix("_output").removesuffix("_call")
    if kind in _RESULTS:
        given = _said(item.get(_RESULTS[kind]))
        return f"[{name} result]\n{given}\n" if given else ""
    if kind in _CALLS:
        told = _said(item.get(_CALLS[kind]))
        return f"[{name} called with {told}]\n" if str(item.get("call_id")) in answered else ""
    return _whole(item, kind, name) if kind in _WHOLE else ""


def _whole(item: Json, kind: str, name: str) -> str:
    told, given = (_said(item.get(member)) for member in _WHOLE[kind])
    if kind == "mcp_call":
        name = f"{item.get('server_label')}.{item.get('name')}"
        failed = _said(item.get("error"))
        given = f"[error]\n{failed}" if failed else given and f"[result]\n{given}"
    elif given:
        given = f"[result]\n{given}"
    return f"[{name} called with {told}]\n{given}\n" if given else ""


def _said(value: Any) -> str:
    """Empty for nothing at all."""
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode() if value else ""
