"""Names of dialects and of clouds' APIs in `gateway.yaml`."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic.fields import FieldInfo

from extproc.config import hints
from extproc.wire import cloud_apis, dialects

PASSTHROUGH = "passthrough"


def _dialect(name: str) -> str:
    return _one_of(name, dialects.names())


def _served(name: str) -> str:
    return _one_of(name, (*dialects.names(), *cloud_apis.names(), PASSTHROUGH))


def _one_of(name: str, known: Sequence[str]) -> str:
    if name in known:
        return name
    *most, last = map(repr, known)
    raise ValueError(f"Input should be {', '.join(most)} or {last}{hints.meant(name, known)}")


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("the same dialect stands here twice")
    return names


def _choices(*more: str) -> FieldInfo:
    """Names them in the JSON Schema, too."""
    found: FieldInfo = Field(json_schema_extra=lambda schema: schema.update(enum=[*dialects.names(), *more]))
    return found


Dialect = Annotated[str, _choices(), AfterValidator(_dialect)]
"""The name of a row in wire/dialects.py."""
Served = Annotated[str, _choices(*cloud_apis.names(), PASSTHROUGH), AfterValidator(_served)]
"""A dialect, a cloud's API (wire/cloud_apis.py), or `passthrough`."""
Preference = Annotated[list[Dialect], Field(min_length=1), AfterValidator(_distinct)]
"""Dialects in the order in which a provider of several is asked where the client's own does not do."""
