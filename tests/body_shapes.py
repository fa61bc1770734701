"""Bodies of many shapes that grow with a number: for tests of what a body may cost."""

from collections.abc import Callable
from typing import Any, NamedTuple

from extproc.wire import Dialect

Json = dict[str, Any]
Part = Callable[[int], Json]


class Shape(NamedTuple):
    """`build(n)` is a body whose size grows in proportion to `n`."""

    dialect: Dialect
    name: str
    build: Part


def shapes() -> list[Shape]:
    """Every shape of every dialect."""
    found = [Shape("messages", name, _body(_MESSAGES, part)) for name, part in _messages().items()]
    found += [Shape("chat", name, _body(_CHAT, part)) for name, part in _chat().items()]
    return found + [Shape("responses", name, _body(_RESPONSES, part)) for name, part in _responses().items()]


_HELLO = [{"role": "user", "content": "hello"}]
_MESSAGES: Json = {"model": "m", "max_tokens": 100, "messages": _HELLO}
_CHAT: Json = {"model": "m", "messages": _HELLO}
_RESPONSES: Json = {"model": "m", "input": "hello"}


def _body(base: Json, part: Part) -> Part:
    return lambda n: {**base, **part(n)}


def schemas() -> dict[str, Part]:
    """JSON schemas, also with references that make much of little."""
    return {
        "properties": lambda n: {"type": "object", "properties": {f"p{k}": {} for k in range(n)}},
        "required": lambda n: {"type": "object", "required": [f"p{k}" for k in range(n)]},
        "any_of": lambda n: {"anyOf": [{"type": "object", "properties": {f"p{k}": {}}} for k in range(n)]},
        "all_of": lambda n: {"allOf": [{"required": [f"p{k}"]} for k in range(n)]},
        "references": _references("allOf"),
        "any_references": _references("anyOf"),
        "inner_references": lambda n: {
            "type": "object",
            "properties": {f"p{k}": {"$ref": f"#/$defs/d{k}"} for k in range(n)},
            "$defs": {f"d{k}": {"$ref": f"#/$defs/d{k + 1}"} for k in range(n)} | {f"d{n}": {}},
        },
        "enum": lambda n: {"type": "object", "properties": {"p": {"enum": list(range(n))}}},
        "empty_arrays": lambda n: {"type": "object", "properties": {"p": {"enum": [[]] * n}}},
        "nested_arrays": lambda n: {"type": "object", "default": _nested(n)},
        "arrays": lambda n: {"type": "object", "properties": {f"p{k}": {"type": "array"} for k in range(n)}},
        "unknown": lambda n: {"type": "object", "properties": {f"p{k}": {f"x{k}": [k]} for k in range(n)}},
    }


def _references(key: str) -> Part:
    def build(n: int) -> Json:
        definition = {"properties": {f"p{k}": {} for k in range(n)}, "required": [f"p{k}" for k in range(n)]}
        return {key: [{"$ref": "#/$defs/d"}] * n, "$defs": {"d": definition}}

    return build


def _nested(n: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(20):
        inner = [inner]
    return [inner] * max(1, n // 20)


def _messages() -> dict[str, Part]:
    def blocks(make: Callable[[int], Json], role: str = "user") -> Part:
        return lambda n: {"messages": [*_HELLO, {"role": role, "content": [make(k) for k in range(n)]}, *_HELLO]}

    tools = {
        f"schema_{name}": lambda n, schema=schema: {"tools": [{"name": "t", "input_schema": schema(n)}]}
        for name, schema in schemas().items()
    }
    return {
        **tools,
        "output_schema": lambda n: {"output_config": {"format": _format(schemas()["properties"](n))}},
        "tools": lambda n: {"tools": [{"name": f"t{k}", "input_schema": {}} for k in range(n)]},
        "odd_tools": lambda n: {"tools": [{"type": f"x{k}", "name": f"t{k}"} for k in range(n)]},
        "turns": lambda n: {"messages": _HELLO * n},
        "alternating": lambda n: {"messages": [*_HELLO, {"role": "assistant", "content": "a"}] * n + _HELLO},
        "systems": lambda n: {"messages": [*_HELLO, {"role": "system", "content": "s"}] * n + _HELLO},
        "leading_systems": lambda n: {"messages": [{"role": "system", "content": "s"}] * n + _HELLO},
        "system_blocks": lambda n: {"system": [{"type": "text", "text": "s"}] * n},
        "pairs": lambda n: {"messages": [*_HELLO, *[m for k in range(n) for m in _pair(str(k))]]},
        "wide_pair": lambda n: {"messages": [*_HELLO, *_wide_pair(n)]},
        "same_ids": lambda n: {"messages": [*_HELLO, *_pair("0") * n]},
        "texts": blocks(lambda k: {"type": "text", "text": "t"}),
        "said": blocks(lambda k: {"type": "text", "text": "t"}, "assistant"),
        "thoughts": blocks(lambda k: {"type": "thinking", "thinking": "t", "signature": "s"}, "assistant"),
        "images": blocks(lambda k: {"type": "image", "source": {"type": "base64", "media_type": "i/p", "data": "iV"}}),
        "documents": blocks(lambda k: {"type": "document", "source": {"type": "text", "data": "d"}}),
        "results": blocks(
            lambda k: {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]}
        ),
        "server_tools": blocks(
            lambda k: {"type": "server_tool_use", "id": f"s{k}", "name": "web_search", "input": {}}, "assistant"
        ),
        "unknown_blocks": blocks(lambda k: {"type": f"x{k}", "text": "t", f"y{k}": 1}),
        "cached": blocks(lambda k: {"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}}),
        "compactions": blocks(lambda k: {"type": "compaction", "content": "c"}, "assistant"),
        "tool_changes": lambda n: {"messages": [*_HELLO, {"role": "system", "content": _additions(n)}]},
        "input_arrays": lambda n: {"messages": [*_HELLO, *_pair("0", {"a": [[]] * n})]},
        "deep_input": lambda n: {"messages": [*_HELLO, *_pair("0", {"a": _nested(n)})]},
        "long_string": lambda n: {"messages": [{"role": "user", "content": "x" * 10 * n}]},
        "escapes": lambda n: {"messages": [{"role": "user", "content": '\n"\\\x00' * 3 * n}]},
        "letters": lambda n: {"messages": [{"role": "user", "content": "é\U0001f600" * 4 * n}]},
        "blanks": lambda n: {"messages": [{"role": "user", "content": " \n" * 5 * n}]},
        "members": lambda n: {f"x{k}": k for k in range(n)},
        "stops": lambda n: {"stop_sequences": [f"s{k}" for k in range(n)]},
        "servers": lambda n: {"mcp_servers": [{"type": "url", "name": f"s{k}", "url": "u"} for k in range(n)]},
        "edits": lambda n: {"context_management": {"edits": [{"type": f"e{k}"} for k in range(n)]}},
    }


def _format(schema: Json) -> Json:
    return {"type": "json_schema", "schema": schema}


def _additions(n: int) -> list[Json]:
    return [
        {
            "type": "tool_addition",
            "tool": {"type": "tool_definition", "definition": {"name": f"t{k % 50}", "input_schema": {}}},
        }
        for k in range(n)
    ]


def _pair(id: str, given: Json | None = None) -> list[Json]:
    call = {"type": "tool_use", "id": f"c{id}", "name": f"f{id}", "input": given or {}}
    return [
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": f"c{id}", "content": "r"}]},
    ]


def _wide_pair(n: int) -> list[Json]:
    pairs = [_pair(str(k)) for k in range(n)]
    return [{"role": pairs[0][side]["role"], "content": [p[side]["content"][0] for p in pairs]} for side in (0, 1)]


def _chat() -> dict[str, Part]:
    def parts(make: Callable[[int], Json]) -> Part:
        return lambda n: {"messages": [{"role": "user", "content": [make(k) for k in range(n)]}]}

    def tool(function: Json) -> Json:
        return {"type": "function", "function": function}

    tools = {
        f"schema_{name}": lambda n, schema=schema: {"tools": [tool({"name": "t", "parameters": schema(n)})]}
        for name, schema in schemas().items()
    }
    strict = {
        f"strict_{name}": lambda n, schema=schema: {
            "tools": [tool({"name": "t", "strict": True, "parameters": schema(n)})]
        }
        for name, schema in schemas().items()
    }
    wanted = {"type": "json_schema"}
    return {
        **tools,
        **strict,
        "output_schema": lambda n: {
            "response_format": {**wanted, "json_schema": {"name": "s", "schema": schemas()["properties"](n)}}
        },
        "tools": lambda n: {"tools": [tool({"name": f"t{k}"}) for k in range(n)]},
        "functions": lambda n: {"functions": [{"name": f"t{k}"} for k in range(n)]},
        "odd_tools": lambda n: {"tools": [{"type": f"x{k}"} for k in range(n)]},
        "turns": lambda n: {"messages": _HELLO * n},
        "alternating": lambda n: {"messages": [*_HELLO, {"role": "assistant", "content": "a"}] * n + _HELLO},
        "systems": lambda n: {"messages": [*_HELLO, {"role": "system", "content": "s"}] * n + _HELLO},
        "leading_systems": lambda n: {"messages": [{"role": "system", "content": "s"}] * n + _HELLO},
        "pairs": lambda n: {"messages": [*_HELLO, *[m for k in range(n) for m in _chat_pair(str(k))]]},
        "same_ids": lambda n: {"messages": [*_HELLO, *_chat_pair("0") * n]},
        "wide_pair": lambda n: {"messages": [*_HELLO, *_chat_wide_pair(n)]},
        "legacy_pairs": lambda n: {"messages": [*_HELLO, *[m for k in range(n) for m in _legacy_pair(str(k))]]},
        "texts": parts(lambda k: {"type": "text", "text": "t"}),
        "images": parts(lambda k: {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}),
        "cached": parts(lambda k: {"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}}),
        "arguments": lambda n: {"messages": [*_HELLO, *_chat_pair("0", '{"a":[' + "[]," * n + "1]}")]},
        "bad_arguments": lambda n: {"messages": [*_HELLO, *_chat_pair("0", "{" * 3 * n)]},
        "fences": lambda n: {"messages": [*_HELLO, *_chat_pair("0", "```\n" * 3 * n)]},
        "blank_arguments": lambda n: {"messages": [*_HELLO, *_chat_pair("0", "```" + " \n" * 5 * n)]},
        "long_string": lambda n: {"messages": [{"role": "user", "content": "x" * 10 * n}]},
        "escapes": lambda n: {"messages": [{"role": "user", "content": '\n"\\\x00' * 3 * n}]},
        "blanks": lambda n: {"messages": [{"role": "user", "content": " \n" * 5 * n}]},
        "members": lambda n: {f"x{k}": k for k in range(n)},
        "stops": lambda n: {"stop": [f"s{k}" for k in range(n)]},
    }


def _chat_pair(id: str, arguments: str = "{}") -> list[Json]:
    call = {"id": f"c{id}", "type": "function", "function": {"name": f"f{id}", "arguments": arguments}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"c{id}", "content": "r"},
    ]


def _chat_wide_pair(n: int) -> list[Json]:
    pairs = [_chat_pair(str(k)) for k in range(n)]
    calls = [p[0]["tool_calls"][0] for p in pairs]
    return [{"role": "assistant", "tool_calls": calls}, *[p[1] for p in reversed(pairs)]]


def _legacy_pair(id: str) -> list[Json]:
    return [
        {"role": "assistant", "function_call": {"name": f"f{id}", "arguments": "{}"}},
        {"role": "function", "name": f"f{id}", "content": "r"},
    ]


def _responses() -> dict[str, Part]:
    def items(make: Callable[[int], Json]) -> Part:
        return lambda n: {"input": [*_HELLO, *[make(k) for k in range(n)], *_HELLO]}

    tools = {
        f"schema_{name}": lambda n, schema=schema: {
            "tools": [{"type": "function", "name": "t", "strict": True, "parameters": schema(n)}]
        }
        for name, schema in schemas().items()
    }
    return {
        **tools,
        "output_schema": lambda n: {
            "text": {"format": {"type": "json_schema", "name": "s", "schema": schemas()["properties"](n)}}
        },
        "tools": lambda n: {"tools": [{"type": "function", "name": f"t{k}"} for k in range(n)]},
        "namespaces": lambda n: {
            "tools": [
                {"type": "namespace", "name": f"n{k}", "tools": [{"type": "function", "name": "t"}]} for k in range(n)
            ]
        },
        "added_tools": items(lambda k: {"type": "additional_tools", "tools": [{"type": "function", "name": f"t{k}"}]}),
        "messages": items(lambda k: {"role": "user", "content": "a"}),
        "answers": items(lambda k: {"role": "assistant", "content": "a"}),
        "systems": items(lambda k: {"role": "system", "content": "a"}),
        "reasoning": items(lambda k: {"type": "reasoning", "summary": [], "encrypted_content": "E"}),
        "foreign": items(lambda k: {"type": f"x{k}", "id": f"i{k}", "output": "o"}),
        "pairs": lambda n: {"input": [*_HELLO, *[i for k in range(n) for i in _items(str(k))]]},
        "wide_pair": lambda n: {"input": [*_HELLO, *[_items(str(k))[side] for side in (0, 1) for k in range(n)]]},
        "same_ids": lambda n: {"input": [*_HELLO, *_items("0") * n]},
        "updates": items(lambda k: {"type": "configuration_update", "reasoning": {"effort": "low"}}),
        "texts": lambda n: {"input": [{"role": "user", "content": [{"type": "input_text", "text": "t"}] * n}]},
        "long_string": lambda n: {"input": "x" * 10 * n},
        "instructions": lambda n: {"instructions": "é" * 5 * n},
        "members": lambda n: {f"x{k}": k for k in range(n)},
        "metadata": lambda n: {"metadata": {f"x{k}": "v" for k in range(n)}},
    }


def _items(id: str) -> list[Json]:
    return [
        {"type": "function_call", "call_id": f"c{id}", "name": f"f{id}", "arguments": "{}"},
        {"type": "function_call_output", "call_id": f"c{id}", "output": "r"},
    ]
