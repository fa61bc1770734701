"""JSON schemas of tools and answers: the repairs OpenAI needs, and whether its strict mode would take one.

A schema that needs no repair is returned as the same object; only what changes is copied.
"""

from typing import Any, NamedTuple

from extproc.translate.checked import Json, refused

MAX_DEPTH = 100
MAX_JOINED = 20_000
"""Properties and required names of one object that is made of alternatives. References make a short schema long."""

# Generators write these into every schema; servers that compile schemas stumble over what they do not know.
_NOISE = ("$schema", "$id")
_UNITED = ("anyOf", "oneOf", "allOf", "not", "enum")
# By the kind of their value. `default`, `examples`, `enum` and `const` hold data, not schemas.
_SCHEMA = (
    "items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames",
    "unevaluatedProperties", "unevaluatedItems", "additionalItems",
)  # fmt: skip
# A list below `items` is what JSON Schema calls `prefixItems` since 2020-12.
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_MAPS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_INNER = frozenset((*_SCHEMA, *_LISTS, *_MAPS))
# https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
_NOT_STRICT = frozenset(("allOf", "not", "if", "patternProperties", "dependentRequired"))


class Repaired(NamedTuple):
    """A schema fit to send, and whether that took more than spelling."""

    schema: Json
    changed_meaning: bool


def repair(schema: Json, path: str, *, add_required: bool = True) -> Repaired:
    """The schema with an object at its top and without what upstreams stumble over."""
    schema = _node(schema, path, 0)
    alternatives = any(key in schema for key in _UNITED)
    # The arguments of a function are one object:
    # https://platform.openai.com/docs/guides/structured-outputs#root-objects-must-not-be-anyof-and-must-be-an-object.
    if alternatives:
        schema = united(schema, path)
    top, replaced = _object(schema)
    # OpenAI takes a missing list for null, and refuses it: "None is not of type 'array'"
    # (https://github.com/earendil-works/pi/issues/2099).
    if add_required and not isinstance(top.get("required"), list):
        top = {**top, "required": []}
    return Repaired(top, alternatives or replaced)


def fits_strict(schema: Json) -> bool:
    """Whether OpenAI's strict mode accepts the (repaired) schema as it is."""
    return schema.get("type") == "object" and "anyOf" not in schema and _strict_node(schema)


def _object(schema: Json) -> tuple[Json, bool]:
    kind = schema.get("type")
    if kind is not None and kind != "object" and not (isinstance(kind, list) and "object" in kind):
        return {"type": "object", "properties": {}}, True
    if kind == "object" and isinstance(schema.get("properties"), dict):
        return schema, False
    # OpenAI refuses a root without: "object schema missing properties"
    # (https://github.com/spring-projects/spring-ai/issues/4776).
    properties = schema.get("properties")
    top = {**schema, "type": "object", "properties": properties if isinstance(properties, dict) else {}}
    return top, False


def _node(node: Json, path: str, depth: int) -> Json:
    """One schema and all below it; the same object when nothing had to change."""
    if depth > MAX_DEPTH:
        raise refused(path, f"schema is nested deeper than {MAX_DEPTH} levels")
    changes: Json = {}
    for key in node.keys() & _INNER:
        value = node[key]
        repaired = _inner(key, value, path, depth + 1)
        if repaired is not value:
            changes[key] = repaired
    # OpenAI refuses an array that does not say of what.
    if "items" not in node and _is(node, "array"):
        changes["items"] = {}
    noisy = "$schema" in node or "$id" in node
    if not changes and not noisy:
        return node
    kept = {key: changes.pop(key, value) for key, value in node.items() if key not in _NOISE}
    kept.update(changes)
    return kept


def _inner(key: str, value: Any, path: str, depth: int) -> Any:
    if isinstance(value, list) and key in _LISTS:
        return _list(value, path, depth)
    if not isinstance(value, dict):
        return value
    return _map(value, path, depth) if key in _MAPS else _node(value, path, depth)


def _list(nodes: list[Any], path: str, depth: int) -> list[Any]:
    out = [_node(node, path, depth) if isinstance(node, dict) else node for node in nodes]
    return out if any(new is not old for new, old in zip(out, nodes, strict=True)) else nodes


def _map(nodes: Json, path: str, depth: int) -> Json:
    changes: Json = {}
    for name, node in nodes.items():
        if isinstance(node, dict):
            repaired = _node(node, path, depth)
            if repaired is not node:
                changes[name] = repaired
    return {**nodes, **changes} if changes else nodes


def _is(node: Json, kind: str) -> bool:
    found = node.get("type")
    return found == kind or (isinstance(found, list) and kind in found)


def united(schema: Json, path: str) -> Json:
    """One object in place of alternatives at the top: all properties, and what every alternative requires.
    Raises Refused beyond MAX_JOINED."""
    properties: Json = dict(_properties(schema))
    required = _names(schema.get("required"))
    for key in ("anyOf", "oneOf", "allOf"):
        members = _members(schema, key)
        for member in members:
            for name, value in _properties(member).items():
                properties.setdefault(name, value)
        required = _merge_required(required, [_names(member.get("required")) for member in members], key == "allOf")
        if len(properties) + len(required) > MAX_JOINED:
            raise refused(path, f"alternatives have more than {MAX_JOINED} properties and required names in all")
    kept = {key: value for key, value in schema.items() if key not in _UNITED}
    return {**kept, "type": "object", "properties": properties, "required": required}


def _members(schema: Json, key: str) -> list[Json]:
    """The alternatives; one that many references name is listed once, or n references to n names would cost n * n."""
    found = schema.get(key)
    members = [member for member in found if isinstance(member, dict)] if isinstance(found, list) else []
    distinct = {id(member): member for member in (_referred(schema, member) for member in members)}
    return list(distinct.values())


def _referred(schema: Json, member: Json) -> Json:
    """The definition an alternative refers to: once the alternative is gone, nothing else would name it."""
    reference = member.get("$ref")
    _, place, name = reference.split("/") if isinstance(reference, str) and reference.count("/") == 2 else ("", "", "")
    definitions = schema.get(place) if place in ("$defs", "definitions") else None
    found = definitions.get(name) if isinstance(definitions, dict) else None
    return found if isinstance(found, dict) else member


def _merge_required(own: list[str], members: list[list[str]], every: bool) -> list[str]:
    if not members:
        return own
    if every:
        wanted = [name for names in members for name in names]
    else:
        shared = set(members[0]).intersection(*members[1:])
        wanted = [name for name in members[0] if name in shared]
    return list(dict.fromkeys([*own, *wanted]))


def _properties(schema: Json) -> Json:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _names(required: Any) -> list[str]:
    return [name for name in required if isinstance(name, str)] if isinstance(required, list) else []


def _strict_node(node: Any) -> bool:
    if not isinstance(node, dict):
        return True
    if not _NOT_STRICT.isdisjoint(node) or not _closed(node):
        return False
    return all(_strict_inner(key, node[key]) for key in node.keys() & _INNER)


def _strict_inner(key: str, value: Any) -> bool:
    if isinstance(value, list):
        return all(_strict_node(item) for item in value)
    if key in _MAPS and isinstance(value, dict):
        return all(_strict_node(item) for item in value.values())
    return _strict_node(value)


def _closed(node: Json) -> bool:
    """An object lists all its properties as required and takes no others."""
    if not _is(node, "object") and "properties" not in node:
        return True
    required = set(_names(node.get("required")))
    return node.get("additionalProperties") is False and all(name in required for name in _properties(node))
