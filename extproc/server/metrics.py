"""Counters for Prometheus, fed from the records of exchanges: what is counted is what is logged.

Workers write to files of one folder; the supervisor reads them all and answers scrapes.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, Counter, Metric, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from extproc.errors import Reason
from extproc.events import Record
from extproc.record import ENDED
from extproc.server.status import Status

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The library's own variable; it must be set before the library is imported in a worker."""

REQUESTS = Counter("extproc_requests", "Exchanges by how they ended.", ["operation", "provider", "reason"])
WARNINGS = Counter("translation_warnings", "What was not carried over, or only nearly.", ["action", "field"])
TOKENS = Counter("gen_ai_client_tokens", "Tokens as the provider counted them.", ["provider", "type"])

_TOKEN_FIELDS = {
    "input": "gen_ai.usage.input_tokens",
    "output": "gen_ai.usage.output_tokens",
    "cache_read": "gen_ai.usage.cache_read.input_tokens",
    "cache_creation": "gen_ai.usage.cache_creation.input_tokens",
}
MAX_FIELDS = 200
_ACTIONS = frozenset({"dropped", "approx", "clamped", "reordered", "emulated"})
_fields: set[str] = set()
_INDEX = re.compile(r"\.\d+(?=\.|$)")


def observe(record: Record) -> None:
    """Counts one exchange, by all that was put on record of it."""
    provider = str(record.get("gen_ai.provider.name", ""))
    # What passes through is not watched to its end; anything else without one was given up by the client.
    ended = ENDED in record or record.get("gen_ai.operation.name") == "passthrough"
    reason = str(record.get("reason", "")) if ended else str(Reason.CLIENT_CLOSED)
    REQUESTS.labels(str(record.get("gen_ai.operation.name", "")), provider, reason).inc()
    for kind, name in _TOKEN_FIELDS.items():
        if isinstance(count := record.get(name), int) and count:
            TOKENS.labels(provider, kind).inc(count)
    for warning in str(record.get("warnings", "")).split(","):
        if warning:
            _warned(warning)


def _warned(warning: str) -> None:
    """Positions are no label: `tools.3.input_schema` counts as `tools.input_schema`, and an id does not count."""
    action, _, path = warning.partition(":")
    WARNINGS.labels(action, _bounded(_INDEX.sub("", path)) if action in _ACTIONS else "").inc()


def _bounded(field: str) -> str:
    """Names of unknown members are of a client's choosing, so only so many get a line of their own."""
    if len(_fields) < MAX_FIELDS:
        _fields.add(field)
    return field if field in _fields else "other"


def serve(address: str, port: int, folder: Path, status: Status) -> dict[str, str]:
    """Answers scrapes in a thread of the supervisor, and `/status` with how the configuration is doing; gives the
    environment for the workers. Raises OSError."""
    folder.mkdir(exist_ok=True)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    registry.register(_OfConfiguration(status))
    server, _ = start_http_server(port, address, registry)
    scrapes = server.get_app()
    assert scrapes is not None

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != "/status":
            return scrapes(environ, start_response)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(status.told()).encode()]

    server.set_app(answer)
    return {FOLDER: str(folder)}


class _OfConfiguration(Collector):
    """Names as Prometheus has for its own configuration."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        status = self._status
        in_force = not status.refused
        yield GaugeMetricFamily("extproc_config_last_reload_successful", "The newest files are in force.", in_force)
        yield GaugeMetricFamily(
            "extproc_config_last_reload_success_timestamp_seconds", "When the configuration was taken.", status.since
        )
        yield GaugeMetricFamily("extproc_config_generation", "Counts configurations taken.", status.generation)
        reloads = CounterMetricFamily("extproc_config_reloads", "Reloads by how they ended.", labels=["result"])
        for result, count in status.reloads.items():
            reloads.add_metric([result], count)
        yield reloads
