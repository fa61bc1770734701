"""The smallest example of a JSON Schema, for calls that a client forces and answers that must be JSON."""

from typing import Any

import msgspec

EXAMPLES: dict[str, object] = {"string": "demo", "integer": 1, "number": 1, "boolean": True, "null": None}


def example(schema: Any, depth: int = 8) -> object:
    if not isinstance(schema, dict) or depth == 0:
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return example(schema[key][0], depth - 1)
    return _of_type(_kind(schema), schema, depth)


def usable(schema: Any) -> bool:
    try:
        msgspec.json.encode(example(schema))
    except (TypeError, ValueError, KeyError, IndexError, AttributeError):
        return False
    return True


def _kind(schema: dict[str, Any]) -> str:
    kind = schema.get("type", "object")
    return str(kind[0] if isinstance(kind, list) and kind else kind)


def _of_type(kind: str, schema: dict[str, Any], depth: int) -> object:
    if kind == "object":
        properties = schema.get("properties") or {}
        return {name: example(properties.get(name, {}), depth - 1) for name in schema.get("required") or []}
    if kind == "array":
        return [example(schema.get("items"), depth - 1)] * int(schema.get("minItems") or 0)
    return EXAMPLES.get(kind)
