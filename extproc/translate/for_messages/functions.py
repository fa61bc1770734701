"""Custom tools as functions. A client sends the same tools with every call, so the work is remembered."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import msgspec

from extproc.translate import names, schema, want
from extproc.translate.want import Json, refused
from extproc.translate.warnings import Strictness, Warnings
from extproc.wire import untrusted

REMEMBERED = 512
REMEMBERED_BYTES = 16 * 1024
"""Larger definitions are made anew each time, which bounds the memory."""

_KNOWN = frozenset((
    "type", "name", "description", "input_schema", "strict", "input_examples", "cache_control", "allowed_callers",
    "defer_loading", "eager_input_streaming",
))  # fmt: skip


class Made(NamedTuple):
    """A function as the upstream takes it, already encoded."""

    name: str
    short: str
    """The name upstream."""
    tool: msgspec.Raw
    warnings: tuple[str, ...]


class Terms(NamedTuple):
    """What the upstream demands of a function."""

    name_max: int
    description_max: int | None
    strictness: Strictness
    tool: Callable[[Json], Json]
    """A function as a tool of the upstream's dialect."""


def custom(definition: Json, path: str, terms: Terms) -> Made:
    """The function for a custom tool at `path`. Raises Refused for a definition that is none."""
    encoded = msgspec.json.encode(definition)
    make = _remembered if len(encoded) <= REMEMBERED_BYTES else _make
    return make(encoded, path, terms)


def _make(encoded: bytes, path: str, terms: Terms) -> Made:
    definition: Json = untrusted.decode(encoded)
    warnings = Warnings(terms.strictness)
    name = want.text(definition, "name", path)
    if not name:
        raise refused(f"{path}.name", "String should have at least 1 character")
    warnings.unknown(definition, _KNOWN, path)
    short = names.tool_name(name, terms.name_max)
    function: Json = {"name": short}
    if description := _description(definition, path, terms.description_max, warnings):
        function["description"] = description
    function["parameters"] = _parameters(definition, path, warnings)
    if want.flag(definition, "strict", path):
        if schema.fits_strict(function["parameters"]):
            function["strict"] = True
        else:
            warnings.add("dropped", f"{path}.strict", "the schema does not suit the upstream's strict mode")
    tool = msgspec.Raw(msgspec.json.encode(terms.tool(function)))
    return Made(name, short, tool, warnings.items)


_remembered = lru_cache(maxsize=REMEMBERED)(_make)


def _description(definition: Json, path: str, limit: int | None, warnings: Warnings) -> str:
    text = want.optional_text(definition, "description", path) or ""
    if examples := want.optional_sequence(definition, "input_examples", path):
        text = f"{text}\n\nExamples: {msgspec.json.encode(examples).decode()}".lstrip()
    if limit is not None and len(text) > limit:
        warnings.add("clamped", f"{path}.description", f"String should have at most {limit} characters")
        return text[:limit]
    return text


def _parameters(definition: Json, path: str, warnings: Warnings) -> Json:
    where = f"{path}.input_schema"
    repaired = schema.repair(want.mapping(definition, "input_schema", path), where)
    if repaired.changed_meaning:
        warnings.add("approx", where, "the schema must be an object without alternatives at its top")
    return repaired.schema
