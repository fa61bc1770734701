"""Servers of models: the keys of `providers` in `gateway.yaml`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from pydantic.fields import FieldInfo

from extproc.config import hints
from extproc.config.schema_clouds import CloudKeys
from extproc.config.schema_tls import STRICT
from extproc.config.schema_values import BaseUrl, Secret
from extproc.wire import dialects


class _Strict(BaseModel):
    model_config = STRICT


def _dialect(name: str) -> str:
    return one_of(name, dialects.names())


def one_of(name: str, known: Sequence[str]) -> str:
    if name in known:
        return name
    *most, last = map(repr, known)
    raise ValueError(f"Input should be {', '.join(most)} or {last}{hints.meant(name, known)}")


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("the same dialect stands here twice")
    return names


def choices(*more: str) -> FieldInfo:
    """Names them in the JSON Schema, too."""
    found: FieldInfo = Field(json_schema_extra=lambda schema: schema.update(enum=[*dialects.names(), *more]))
    return found


Dialect = Annotated[str, choices(), AfterValidator(_dialect)]
"""The name of a row in wire/dialects.py."""
Preference = Annotated[list[Dialect], Field(min_length=1), AfterValidator(_distinct)]
"""Dialects in the order in which a provider of several is asked where the client's own does not do."""


class Timeouts(_Strict):
    """Limits of time for a call to the provider, in seconds."""

    connect: float = Field(5, gt=0)
    """Time until a connection is established, TLS included."""
    first_byte: float | None = Field(None, gt=0)
    """Time of each attempt from the end of the request to the headers of the answer, those of status 100 and 103
    included. Absent: `idle` applies."""
    idle: float = Field(900, gt=0)
    """Time without a byte of the provider. Keep it long: an answer that is not streamed sends nothing until it is
    complete, which can take ten minutes."""
    total: float | None = Field(None, gt=0)
    """Time for the whole answer. Absent: not limited."""


class Retries(_Strict):
    """When a call is sent to the provider again: before the client has received a byte, if there was no connection, if
    it broke before the answer, or if a 429, 503 or 529 says when to retry. `off` means one attempt."""

    attempts: int = Field(2, ge=1, le=10)
    """All attempts, the first one included."""
    longest_wait: int = Field(2, ge=0, le=60)
    """Longest `retry-after` that is waited for, in seconds. A longer one goes to the client; with 0 each does."""
    budget: float = Field(20, gt=0, le=100)
    """Percent of the calls in progress to this provider that may be retries; three are always allowed."""


def _off(value: Any) -> Any:
    """YAML 1.1, which is read here, takes `off` for false; YAML 1.2, which editors read, takes it for text."""
    return {"attempts": 1} if value is False or value == "off" else value


class ProviderLimits(_Strict):
    """Limits at one time. Calls beyond them are refused as overloaded."""

    connections: int = Field(10_000, ge=1)
    """Connections to the provider."""
    requests: int = Field(10_000, ge=1)
    """Calls in progress at the provider; a stream counts until its end."""
    pending: int = Field(10_000, ge=1)
    """Calls that wait for a connection."""


class Outliers(_Strict):
    """Outlier detection: what fails gets no calls for a while. For a model with one provider, that is one of the
    provider's addresses, as long as there are others. For a model with several providers it is also the provider as a
    whole: it is left out, and the next one is asked."""

    failures: int = Field(5, ge=1)
    """Failures in a row. Those of an address: no connection, a broken connection, or no answer. Those of a provider
    among several: also a 5xx, and a 200 whose answer turns out to be none."""
    pause: float = Field(30, gt=0)
    """Seconds for which an address or a provider is left out the first time; longer each time. A provider's pause
    doubles, up to ten times this value, until it answers."""
    share: int = Field(50, ge=0, le=100)
    """Most percent of the addresses that are left out; 0: none. A single address never is. It does not limit how many
    providers of a model are left out: if all are, the one whose pause ends first is asked."""


def _address_or_cloud(schema: dict[str, Any]) -> None:
    """A cloud's address follows from other keys."""
    schema["required"].remove("base_url")
    schema |= {"if": {"not": {"required": ["cloud"]}}, "then": {"required": ["base_url"]}}


KeyHeader = Literal["authorization", "x-api-key"]


class Provider(CloudKeys):
    """A server of models."""

    model_config = STRICT | {"json_schema_extra": _address_or_cloud}

    dialects: list[Dialect] = Field(min_length=1)
    """The APIs that it speaks."""
    prefer: Preference | None = None
    """Which of `dialects` comes first where the client's own is none of them, or the model cannot do in it what is
    asked. Those that are not named follow, in the order responses, messages, chat, any other."""
    base_url: BaseUrl
    """The address below which its paths are, with or without `/v1`. Absent: the usual one of the cloud."""
    api_key: Secret | None = None
    """Its key; absent: calls go out without one."""
    key_header: KeyHeader | None = None
    """The header that carries the key: `x-api-key`, or `authorization` with `Bearer`. Absent: by the dialect of the
    call, `x-api-key` for Messages."""
    profile: str | dict[str, Any] | None = None
    """The quirks of its server: the name of a profile, or keys of one. Absent: chosen by the address and the model."""
    version: str = Field("2023-06-01", pattern=r"^(client|\d{4}-\d{2}-\d{2})$")
    """The `anthropic-version` that is sent. `client`: the client's own, if it sent one."""
    ca_file: Path | None = None
    """Trusted roots instead of the system's, for a private certificate authority."""
    prices: str | None = Field(None, min_length=1)
    """The vendor whose prices apply, such as `anthropic`, by its id in the package genai-prices. Absent: known by the
    host of `base_url`."""
    timeouts: Timeouts = Timeouts()
    """Limits of time."""
    retries: Annotated[Retries, BeforeValidator(_off, json_schema_input_type=Retries | Literal[False, "off"])] = (
        Retries()
    )
    """When a call is sent to it again."""
    limits: ProviderLimits = ProviderLimits()
    """Limits at one time."""
    outliers: Outliers = Outliers()
    """When one of its addresses, or the provider itself where a model has others, gets no calls for a while."""
