"""Custom tools as functions. A client sends the same tools with every call, so the work is remembered."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import msgspec

from extproc.translate import names, schema, want
from extproc.translate.want import Json, refused
from extproc.translate.warnings import Strictness, Warnings
from extproc.wire import untrusted

_SENTENCE = re.compile(r"([.!?])\s")
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
    told: str
    """For the system prompt: a description that is too long for the upstream's limit."""


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
    whole = _description(definition, path)
    short_one, told = _fitting(whole, terms.description_max), ""
    if short_one != whole:
        problem = f"String should have at most {terms.description_max} characters"
        warnings.add("approx", f"{path}.description", problem)
        told = f"# Tool {short}\n{whole}"
    if short_one:
        function["description"] = short_one
    function["parameters"] = _parameters(definition, path, warnings)
    if want.flag(definition, "strict", path):
        if schema.fits_strict(function["parameters"]):
            function["strict"] = True
        else:
            warnings.add("dropped", f"{path}.strict", "the schema does not suit the upstream's strict mode")
    tool = msgspec.Raw(msgspec.json.encode(terms.tool(function)))
    return Made(name, short, tool, warnings.items, told)


_remembered = lru_cache(maxsize=REMEMBERED)(_make)


def _description(definition: Json, path: str) -> str:
    text = want.optional_text(definition, "description", path) or ""
    if examples := want.optional_sequence(definition, "input_examples", path):
        text = f"{text}\n\nExamples: {msgspec.json.encode(examples).decode()}".lstrip()
    return text


def _fitting(text: str, limit: int | None) -> str:
    """The sentences that fit, else as much of the first one as does."""
    if limit is None or len(text) <= limit:
        return text
    ends = [found.end(1) for found in _SENTENCE.finditer(text, 0, limit + 1)]
    return text[: max((end for end in ends if end <= limit), default=limit)]


def _parameters(definition: Json, path: str, warnings: Warnings) -> Json:
    where = f"{path}.input_schema"
    repaired = schema.repair(want.mapping(definition, "input_schema", path), where)
    if repaired.changed_meaning:
        warnings.add("approx", where, "the schema must be an object without alternatives at its top")
    return repaired.schema
