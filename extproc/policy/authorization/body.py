"""A request's body: decoded, counted before anything is made of it, and refused where rules decide by what others could
read differently. Pure, so that another process can do it.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from extproc.errors import Rejection, invalid
from extproc.wire import Dialect, dialects, untrusted
from extproc.wire.duplicates import at_any_depth

Json = dict[str, Any]


class Bounds(msgspec.Struct, frozen=True):
    """What one body may hold: `limits.body` of the configuration."""

    tools: int = 10_000
    turns: int = 100_000
    parts: int = 200_000
    values: int = 1_000_000
    depth: int = 200


# A body below these bounds costs the event loop less than 100 ms, whatever it is made of
# (tests/policy/authorization/test_body.py).
LIGHT_BYTES = 128 * 1024
LIGHT_VALUES = 32_000
LIGHT_TEXT = 4 * 1024 * 1024

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


class _Model(msgspec.Struct):
    model: msgspec.Raw = msgspec.Raw(b'""')


_model = untrusted.decoder(_Model)


def is_heavy(raw: bytes) -> bool:
    """Whether reading this body could hold up the event loop. Long texts and images alone make no body heavy."""
    return len(raw) > LIGHT_BYTES and (len(raw) > LIGHT_TEXT or _most_values(raw) > LIGHT_VALUES)


def model_of(raw: bytes) -> Any:
    """The member `model`, while all others are skipped. Raises msgspec.DecodeError."""
    found = _model.decode(raw).model
    return untrusted.decode(found) if len(found) <= LIGHT_BYTES else None


def read(raw: bytes, dialect: Dialect, bounds: Bounds) -> Json | Rejection:
    """The body, or what is wrong with it."""
    if len(raw) > bounds.values and _most_values(raw) > bounds.values and _values(raw) > bounds.values:
        return invalid("", f"the body holds more than {bounds.values} values")
    try:
        body = untrusted.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return invalid("", f"the body is not valid JSON: {error}", code="")
    if not isinstance(body, dict):
        return invalid("", "the body is not a JSON object", code="")
    # A smaller one is not worth the walk: the decoder itself stops at about 1,000 levels.
    if len(raw) > LIGHT_BYTES and _is_deeper(body, bounds.depth):
        return invalid("", f"the body is nested deeper than {bounds.depth} levels")
    # Some servers take `Model` for it, and then it is theirs that counts: https://pkg.go.dev/encoding/json#Unmarshal
    if doubles := [name for name in body if name != "model" and name.casefold() == "model"]:
        return invalid(doubles[0][:64], "write `model`")
    return _counted(body, dialect, bounds) or body


def _most_values(raw: bytes) -> int:
    """No fewer than it holds: separators within strings are counted, too."""
    return 1 + raw.count(b",") + raw.count(b"[") + raw.count(b"{")


def _values(raw: bytes) -> int:
    """How many values the body holds; empty arrays and objects count twice."""
    return _most_values(_STRING.sub(b"", raw))


def _is_deeper(body: Json, levels: int) -> bool:
    level: list[Any] = [body]
    for _ in range(levels):
        inner = (value for holder in level for value in (holder.values() if type(holder) is dict else holder))
        level = [value for value in inner if type(value) in (dict, list)]
        if not level:
            return False
    return True


def _counted(body: Json, dialect: Dialect, bounds: Bounds) -> Rejection | None:
    member = dialects.row(dialect).turns
    turns = body.get(member)
    turns = turns if isinstance(turns, list) else []
    found = [
        (name, len(body[name]), bounds.tools) for name in ("tools", "functions") if isinstance(body.get(name), list)
    ]
    found += [(member, len(turns), bounds.turns), (f"{member}.content", sum(_parts(turns)), bounds.parts)]
    for path, number, limit in found:
        if number > limit:
            return invalid(path, f"List should have at most {limit} items, not {number}")
    return None


def _parts(turns: list[Any]) -> Iterator[int]:
    for turn in turns:
        content = turn.get("content") if isinstance(turn, dict) else None
        if isinstance(content, list):
            yield len(content)


_MAX_NAME = 64


def ambiguity(raw: bytes, body: dict[str, Any], dialect: Dialect, *, every_depth: bool) -> Rejection | None:
    """Returns why rules cannot decide by this body, if they cannot.

    `every_depth`: they read more of it than its model, so that no name within it may stand twice."""
    known = dialects.row(dialect).members
    for name in body:
        # Servers written in Go take `Tools` for `tools`: https://pkg.go.dev/encoding/json#Unmarshal
        if name not in known and (meant := name.casefold()) in known:
            return invalid(shown(name), f"write `{meant}`")
    if not every_depth:
        return None
    try:
        twice = at_any_depth(raw, body)
    except RecursionError:
        return invalid("", "the body is nested too deeply")
    return None if twice is None else invalid(shown(twice), "this name is given twice in one object")


def shown(name: str) -> str:
    """A stranger's name, for a message."""
    return "".join(char if char.isprintable() else "_" for char in name[:_MAX_NAME])
