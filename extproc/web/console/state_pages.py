"""The providers as they are at the moment, and the configuration in force. For operators only."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from pydantic import BaseModel

from extproc.config.schema import Config
from extproc.gateway.gateway import Gateway
from extproc.providers.availability import Availability
from extproc.usage.reading import Reader, Row, Scope
from extproc.web.console import numbers
from extproc.web.console.tables import Column, Table
from extproc.web.console.view import HOUR

_MAX_SHOWN = 300


def find(reader: Reader, now: float) -> tuple[list[Row], list[Row]]:
    """Returns the calls of the last hour by provider, and their latency; for a thread. `now`: Unix seconds. Raises
    LedgerDown, TooSlow."""
    until = int(now * 1000) + 1
    scope = Scope(until - HOUR, until)
    return reader.sums(["provider"], scope), reader.latency("duration", "provider", None, scope)


def providers(gateway: Gateway, found: tuple[list[Row], list[Row]], now: float) -> Table:
    """`found`: what `find` has."""
    sums = {row["provider"]: row for row in found[0]}
    latency = {row["key"]: row for row in found[1]}
    rows = [
        {
            "provider": name,
            "state": state(gateway.availability, name, now),
            "address": one.base_url,
            "dialects": ", ".join(one.dialects),
            "calls": sums.get(name, {}).get("calls", 0),
            "failed_calls": sums.get(name, {}).get("failed_calls", 0),
            "p50": latency.get(name, {}).get("p50"),
            "p95": latency.get(name, {}).get("p95"),
        }
        for name, one in gateway.source.config.providers.items()
    ]
    columns = [
        Column("provider", "Provider"),
        Column("state", "State"),
        Column("calls", "Calls", "number"),
        Column("failed_calls", "Failed", "number"),
        Column("p50", "Duration, median", "duration"),
        Column("p95", "95%", "duration"),
        Column("dialects", "Dialects"),
        Column("address", "Address", "code"),
    ]
    return Table("providers", "State and last hour", columns, rows)


def state(availability: Availability, provider: str, now: float) -> str:
    """Returns the state as `/status` names it, with the time at which it ends. `now`: Unix seconds."""
    until = availability.until(provider)
    if until == float("inf"):
        return "drained"
    return f"cooling down until {numbers.moment(int(until * 1000), '%H:%M:%S')} UTC" if until > now else "available"


def configuration(gateway: Gateway) -> list[Table]:
    """Returns one table for each section that the file has: keys and values, without a secret."""
    config = gateway.source.config
    columns = [Column("key", "Key", "code"), Column("value", "Value", "code")]
    return [
        Table(name, name, columns, [{"key": key, "value": value} for key, value in rows])
        for name in Config.model_fields
        if name in config.model_fields_set
        if (rows := list(_values(getattr(config, name), (name,))))
    ]


def _values(value: Any, where: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    key = ".".join(where)
    match value:
        case BaseModel():
            # A secret is named by where it is read from; the schema has no place for one itself.
            members = [member for member in type(value).model_fields if member in value.model_fields_set]
            for member in members:
                yield from _values(getattr(value, member), (*where, member))
            if not members:
                yield key, "with all defaults"
        case Mapping() if all(isinstance(inner, BaseModel) for inner in value.values()):
            for member, inner in value.items():
                yield from _values(inner, (*where, str(member)))
        case Mapping():  # of any form, so somebody may have written a secret there all the same
            yield key, "with " + ", ".join(map(str, value))
        case list() if any(isinstance(inner, BaseModel | list) for inner in value):
            for number, inner in enumerate(value):
                yield from _values(inner, (*where, str(number)))
        case _:
            yield key, _shown(value)


def _shown(value: Any) -> str:
    values = value if isinstance(value, list | tuple) else [value]
    text = ", ".join("{...}" if isinstance(inner, Mapping) else str(inner) for inner in values)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + " ..."


def about(gateway: Gateway) -> str:
    """Returns a paragraph above the sections."""
    file = f"<code>{escape(gateway.source.path.name)}</code>"
    words = "as the web process uses it. Keys that the file leaves out have their defaults. Secrets are named by where "
    words += "they are read from. Of sections of any form only the names are shown."
    return f'<p class="lead">{file}, configuration number {gateway.number}, {words}</p>'
