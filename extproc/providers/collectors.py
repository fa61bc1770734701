"""The collectors of `telemetry`, with their credentials."""

from collections.abc import Mapping
from importlib.util import find_spec

import msgspec

from extproc.config import authorities
from extproc.config.faults import Fault, Where
from extproc.config.loading import Source
from extproc.config.schema_telemetry import Collector as Settings
from extproc.config.schema_telemetry import Signal
from extproc.providers import credentials


class Collector(msgspec.Struct, frozen=True):
    place: str
    """In the configuration: what the log calls it by, since its host is nobody's business there."""
    url: str
    headers: dict[str, str]
    """With their secrets; nothing prints them."""
    signals: frozenset[Signal]
    roots: str | None
    """Trusted certificates in PEM instead of the public ones."""
    timeout: float
    queue_bytes: int


def load(source: Source, environ: Mapping[str, str], faults: list[Fault]) -> list[Collector]:
    """Empty where there is no `telemetry`. Adds to `faults`."""
    if source.config.telemetry is None:
        return []
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.proto") is None:
        faults.append(Fault(("telemetry",), "needs an extra: pip install 'llm-extproc[traces]'"))
    return [
        _collector(source, settings, ("telemetry", "collectors", index), environ, faults)
        for index, settings in enumerate(source.config.telemetry.collectors)
    ]


def _collector(
    source: Source, settings: Settings, where: Where, environ: Mapping[str, str], faults: list[Fault]
) -> Collector:
    headers = {
        name: credentials.load(source, secret, (*where, "headers", name), environ, faults)
        for name, secret in settings.headers.items()
    }
    return Collector(
        ".".join(map(str, where)),
        settings.url,
        {name: value.reveal() for name, value in headers.items() if value is not None},
        frozenset(settings.signals),
        authorities.load(source, settings.ca_file, (*where, "ca_file"), faults),
        settings.timeout,
        settings.queue_bytes,
    )
