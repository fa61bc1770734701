"""Schemas that Claude enforces: what it cannot enforce moves into the descriptions (docs/mapping.md 4.5).

The Anthropic SDK's `transform_schema` does the same, but here `type` stays beside `enum`, and lists of types stay.
"""

from graphlib import CycleError, TopologicalSorter
from typing import Any

import msgspec

from extproc.translate.checked import refused
from extproc.translate.pair import Json
from extproc.translate.schema import MAX_DEPTH

# Constrained decoding takes a part of JSON Schema:
# https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations.
_ENOUGH = ("type", "anyOf", "oneOf", "allOf", "enum", "const", "$ref")
_DEFINITIONS = ("$defs", "definitions")
_MAPS = ("properties", *_DEFINITIONS)
_LISTS = ("anyOf", "oneOf", "allOf")
_KEPT = frozenset((*_MAPS, "anyOf", "allOf", "type", "enum", "const", "title", "description", "required", "items"))
# https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
_FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"))


def transformed(schema: Json, path: str) -> Json:
    """Raises Refused for a schema nested too deeply."""
    return _Transform(path).node(schema, 0)


class _Transform:
    def __init__(self, path: str) -> None:
        self._path = path

    def node(self, node: Json, depth: int) -> Json:
        if depth > MAX_DEPTH:
            raise refused(self._path, f"schema is nested deeper than {MAX_DEPTH} levels")
        # A schema that says nothing of its type; the SDK raises for one.
        if not any(key in node for key in _ENOUGH):
            return node
        if "$ref" in node:
            # Nothing may stand beside a reference but the definitions it refers to.
            kept = {key: self._value(key, node[key], depth) for key in _DEFINITIONS if key in node}
            return {**kept, "$ref": node["$ref"]}
        stays, lost = _sorted(node)
        # Claude takes no `oneOf`; the SDK writes `anyOf` for it, too.
        out = {("anyOf" if key == "oneOf" else key): self._value(key, node[key], depth) for key in stays}
        if _is(node, "object"):
            out.setdefault("properties", {})
            out["additionalProperties"] = False
        if lost:
            notes = f"{{{', '.join(f'{key}: {_words(node[key])}' for key in lost)}}}"
            described = out.get("description")
            out["description"] = f"{described}\n\n{notes}" if isinstance(described, str) else notes
        return out

    def _value(self, key: str, value: Any, depth: int) -> Any:
        """What stands below a keyword, with all schemas in it transformed."""
        if key in _MAPS and isinstance(value, dict):
            return {name: self._inner(inner, depth) for name, inner in value.items()}
        if key in _LISTS and isinstance(value, list):
            return [self._inner(inner, depth) for inner in value]
        return self._inner(value, depth) if key == "items" else value

    def _inner(self, value: Any, depth: int) -> Any:
        return self.node(value, depth + 1) if isinstance(value, dict) else value


def _sorted(node: Json) -> tuple[list[str], list[str]]:
    """Keywords that stay, and those of which only words are left."""
    stays, lost = [], []
    for key in node:
        if key in _KEPT or _stays(node, key) or (key == "oneOf" and "anyOf" not in node):
            stays.append(key)
        elif key != "additionalProperties" or not _is(node, "object"):
            lost.append(key)
    return stays, lost


def _stays(node: Json, key: str) -> bool:
    value = node[key]
    if key == "format":
        return _is(node, "string") and isinstance(value, str) and value in _FORMATS
    # Claude enforces a list's `minItems` if it is 0 or 1, and no other bound of a list.
    return key == "minItems" and _is(node, "array") and type(value) is int and value in (0, 1)


def _is(node: Json, kind: str) -> bool:
    found = node.get("type")
    return found == kind or (isinstance(found, list) and kind in found)


def _words(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def can_be(schema: Json, path: str) -> bool:
    """Whether Claude can compile it: references stay inside and lead to no circle."""
    references: dict[str, set[str]] = {"#": set()}
    _collect(schema, "#", references, path, 0)
    return _acyclic(references)


def _collect(node: Any, owner: str, references: dict[str, set[str]], path: str, depth: int) -> None:
    """Which definition refers to which."""
    if depth > MAX_DEPTH:
        raise refused(path, f"schema is nested deeper than {MAX_DEPTH} levels")
    if isinstance(node, list):
        for item in node:
            _collect(item, owner, references, path, depth + 1)
    if not isinstance(node, dict):
        return
    if isinstance(node.get("$ref"), str):
        references[owner].add(node["$ref"])
    for key, value in node.items():
        if key in _DEFINITIONS and isinstance(value, dict) and owner == "#":
            for name, inner in value.items():
                # Both are escaped in a JSON pointer: RFC 6901, section 3.
                pointer = f"#/{key}/{name.replace('~', '~0').replace('/', '~1')}"
                references[pointer] = set()
                _collect(inner, pointer, references, path, depth + 1)
        else:
            _collect(value, owner, references, path, depth + 1)


def _acyclic(references: dict[str, set[str]]) -> bool:
    # A reference to another document, or to a part of a schema that is no definition.
    if any(not wanted <= references.keys() for wanted in references.values()):
        return False
    try:
        TopologicalSorter(references).prepare()
    # Claude's compiler refuses a recursive schema.
    except CycleError:
        return False
    return True
