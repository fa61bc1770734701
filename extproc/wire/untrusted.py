"""Decoding JSON that strangers wrote: clients, tokens, providers. No other module decodes such JSON itself.

msgspec parses a number such as `9e307` up to a hundred times slower than Python's `float` does, so a body of a few
hundred kilobytes could hold a worker for seconds. A `float_hook` goes around that parser, but msgspec uses it only
where no type is given: a Struct that is decoded here has no member of type `float` (`Any` instead).
"""

import json
from math import isinf
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class DuplicateName(ValueError):
    """An object names a member twice; parsers disagree on which of the two counts."""


def _finite(number: str) -> float:
    value = float(number)
    # JSON bounds no number (https://www.rfc-editor.org/rfc/rfc8259#section-6), but Python and JavaScript read this one
    # as infinity.
    if isinf(value):
        raise ValueError("Number out of range")
    return value


_decoder = msgspec.json.Decoder(float_hook=_finite)

decode = _decoder.decode
"""Returns any JSON value. Raises msgspec.DecodeError, UnicodeError or RecursionError."""


def decoder(into: type[T]) -> msgspec.json.Decoder[T]:
    """Returns a decoder for JSON of a known form; see above for members that are numbers."""
    return msgspec.json.Decoder(into, float_hook=_finite)


def decode_unique(data: bytes) -> Any:
    """Like `decode`, but raises DuplicateName where an object at any depth names a member twice."""
    value = decode(data)
    # msgspec keeps the last of two members and does not say so; it is the stricter reader in everything else.
    json.loads(data, object_pairs_hook=_refuse_duplicates)
    return value


def _refuse_duplicates(members: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in members}) < len(members):
        raise DuplicateName
