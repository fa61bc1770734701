"""Decoding into Structs when a vendor's types differ: what fits is kept, what does not is dropped."""

import json
import re
from collections.abc import Iterable
from functools import cache
from typing import Any, TypeVar, get_args

import msgspec

from extproc.wire import untrusted

S = TypeVar("S", bound=msgspec.Struct)

# JSON can escape half of a surrogate pair, which UTF-8 cannot hold: RFC 8259, section 8.2.
_HALF = re.compile("[\ud800-\udfff]")


class Undecodable(ValueError):
    """Not JSON, or not an object."""


def decode(data: bytes, decoder: msgspec.json.Decoder[S]) -> S:
    """Returns the decoded Struct. Raises Undecodable."""
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return salvage(loads(data), decoder.type)


def loads(data: bytes | str) -> Any:
    """Any JSON, and what Python's and JavaScript's servers write in its place: NaN, half a surrogate pair, bytes
    that are no UTF-8. Raises Undecodable."""
    try:
        return untrusted.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    try:
        value = json.loads(text, parse_constant=_nothing)
        whole = _HALF.sub("\N{REPLACEMENT CHARACTER}", json.dumps(value, ensure_ascii=False))
        return json.loads(whole, parse_constant=_nothing)
    except (ValueError, RecursionError) as error:
        raise Undecodable(str(error)) from None


def values_of(holder: dict[str, Any], *names: str) -> list[Any]:
    """Values of these members that are not null, in any letter case. `names`: in lower case.

    Servers written in Go take `Tools` for `tools`: https://pkg.go.dev/encoding/json#Unmarshal"""
    return [value for name, value in holder.items() if value is not None and name.casefold() in names]


class Members:
    """The same for an object that is asked for many members."""

    def __init__(self, holder: dict[str, Any]) -> None:
        self._values: dict[str, list[Any]] = {}
        for name, value in holder.items():
            if value is not None:
                self._values.setdefault(name.casefold(), []).append(value)

    def has(self, names: Iterable[str]) -> bool:
        return not self._values.keys().isdisjoint(names)

    def get(self, *names: str) -> list[Any]:
        return [value for name in names if name in self._values for value in self._values[name]]


MAX_TOKENS = 10**9
"""More tokens than any model can read or write in one call."""


def count(value: Any) -> int | None:
    """Returns a number of tokens, which may be written as text or with a fraction; None if the value cannot be one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number <= MAX_TOKENS else None


def _nothing(_: str) -> None:
    return None


def salvage(raw: Any, into: type[S]) -> S:
    """Returns a Struct with the members that fit. Raises Undecodable if `raw` is not an object."""
    if not isinstance(raw, dict):
        raise Undecodable("not an object")
    kept: dict[str, Any] = {}
    for name, (plain, struct, many) in _members(into).items():
        if raw.get(name) is None:
            continue
        value = _nested(raw[name], struct, many) if struct else _plain(raw[name], plain)
        if value is not None:
            kept[name] = value
    return into(**kept)


def _nested(value: Any, struct: type[msgspec.Struct], many: bool) -> Any:
    if many:
        items = value if isinstance(value, list) else [value]
        return [salvage(item, struct) for item in items if isinstance(item, dict)]
    return salvage(value, struct) if isinstance(value, dict) else None


def _plain(value: Any, type_: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and str in get_args(type_):
        return str(value)
    try:
        return msgspec.convert(value, type_, strict=False)
    except msgspec.ValidationError:
        return None


@cache
def _members(into: type[msgspec.Struct]) -> dict[str, tuple[Any, type[msgspec.Struct] | None, bool]]:
    """Member -> its type; the Struct in it, if any; whether it is a list of those."""
    found = {}
    for field in msgspec.structs.fields(into):
        options = get_args(field.type)
        inner = [arg for option in options for arg in (get_args(option) or (option,))]
        structs = [t for t in inner if isinstance(t, type) and issubclass(t, msgspec.Struct)]
        many = any(getattr(option, "__origin__", None) is list for option in options)
        found[field.name] = (field.type, structs[0] if structs else None, many)
    return found
