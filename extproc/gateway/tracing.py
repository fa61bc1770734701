"""Spans by OTLP, one a call, joined to the caller's trace (https://www.w3.org/TR/trace-context/).

Loaded only where `tracing` is configured: the OpenTelemetry SDK is an extra. Attributes are the fields of the record,
so no prompt is among them: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
"""

import logging
import os
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_SERVICE_NAME
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from extproc.config.schema_records import Tracing
from extproc.events import Headers, Record
from extproc.gateway import attempts, record
from extproc.gateway.attempts import Try
from extproc.policy.budgets.used import BUDGETS

log = logging.getLogger("extproc")

SERVICE = "llm-extproc"
# A worker that must go does not wait for a collector that is gone.
EXPORT_SECONDS = 5.0
_NANO = 1_000_000_000
_PROPAGATOR = TraceContextTextMapPropagator()
_INTERNAL = frozenset({
    record.VERDICT, record.CLUSTER, record.ANSWERED, record.DIALECT, record.ENDED, "reason", BUDGETS,
    attempts.TRIES, attempts.COMMITTED, attempts.VERDICT,
})  # fmt: skip
_FINISH = "gen_ai.response.finish_reasons"


class Trace:
    """Begins the span of each call."""

    def __init__(self, settings: Tracing, headers: Mapping[str, str]) -> None:
        self._pipeline = _pipeline(url_of(settings.endpoint), tuple(headers.items()), settings.sample)

    def begin(self, headers: Headers, started: float) -> "Span":
        """`started`: Unix seconds."""
        # Envoy joins repeated headers; what does not parse begins a trace of its own.
        carrier = {name: headers.get(name) for name in ("traceparent", "tracestate")}
        parent = _PROPAGATOR.extract(carrier, Context())
        kind, nanoseconds = trace.SpanKind.SERVER, int(started * _NANO)
        tracer = self._pipeline.tracer
        return Span(tracer.start_span("call", parent, kind, start_time=nanoseconds), tracer)


class _Pipeline:
    """Sends spans to the collector, and what is left of them when the process ends."""

    def __init__(self, url: str, headers: Mapping[str, str], sample: float) -> None:
        self._sample = sample
        self._exporter = _Exporter(OTLPSpanExporter(url, headers=headers, timeout=EXPORT_SECONDS))

    @cached_property
    def tracer(self) -> trace.Tracer:
        """The tracer. Its thread starts with the first call, since `extproc check` needs none."""
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it would log traces of its stack
        named = {} if os.environ.get(OTEL_SERVICE_NAME) else {SERVICE_NAME: SERVICE}
        provider = TracerProvider(ParentBasedTraceIdRatio(self._sample), Resource.create(named))
        provider.add_span_processor(BatchSpanProcessor(self._exporter))
        return provider.get_tracer(SERVICE)


@cache
def _pipeline(url: str, headers: tuple[tuple[str, str], ...], sample: float) -> _Pipeline:
    """One for all gateways of a process that want the same: each has a thread, and none ever goes."""
    return _Pipeline(url, dict(headers), sample)


class Span:
    def __init__(self, span: trace.Span, tracer: trace.Tracer) -> None:
        self._span = span
        self._tracer = tracer

    @property
    def headers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        _PROPAGATOR.inject(found, trace.set_span_in_context(self._span, Context()))
        return found

    def end(self, seen: Record, now: float) -> None:
        """`seen`: all that was put on record of the call; `now`: Unix seconds."""
        if self._span.is_recording():
            for one in attempts.read(seen):
                self._attempt(one, now)
            self._span.update_name(_name(seen))
            self._span.set_attributes(attributes(seen))
            if reason := record.reason(seen):
                self._span.set_attribute("error.type", reason)
                self._span.set_status(trace.StatusCode.ERROR)
        self._span.end(int(now * _NANO))

    def _attempt(self, one: Try, now: float) -> None:
        """An attempt that reached its provider, as a span within that of the call."""
        if not one.started:
            return
        inside = trace.set_span_in_context(self._span, Context())
        span = self._tracer.start_span(
            f"attempt {one.provider}", inside, trace.SpanKind.CLIENT, start_time=int(one.started * _NANO)
        )
        span.set_attributes({"gen_ai.provider.name": one.provider, "http.response.status_code": one.status})
        if one.word != "ok":
            span.set_attribute("error.type", one.why or str(one.status or one.word))
            span.set_status(trace.StatusCode.ERROR)
        span.end(int((now if one.word == "ok" else one.started + one.seconds) * _NANO))


class _Exporter(SpanExporter):
    """Says once that the collector cannot be reached, and once that it can be again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        failing = result is not SpanExportResult.SUCCESS
        if failing != self._failing:
            log.warning("spans are %s", "lost: the collector does not take them" if failing else "taken again")
        self._failing = failing
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def url_of(endpoint: str) -> str:
    """https://opentelemetry.io/docs/specs/otlp/#otlphttp-request"""
    return endpoint if urlsplit(endpoint).path else f"{endpoint}/v1/traces"


def _name(seen: Record) -> str:
    operation, model = seen.get(record.OPERATION, ""), seen.get("gen_ai.request.model", "")
    return f"{operation} {model}".strip() or "call"


def attributes(seen: Record) -> dict[str, str | int | float | bool | list[str]]:
    """Returns the attributes of a record, as the conventions demand: all input tokens in one number, finish reasons as
    a list."""
    found: dict[str, str | int | float | bool | list[str]] = {
        name: value for name, value in seen.items() if name not in _INTERNAL
    }
    if reason := seen.get(_FINISH):
        found[_FINISH] = [str(reason)]
    return found
