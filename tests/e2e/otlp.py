"""A collector on loopback: takes what OTLP exporters send, and keeps the spans and the requests as they came."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.e2e.stack import SECONDS


class Collector:
    def __init__(self) -> None:
        self.url = ""
        self.headers: list[dict[str, str]] = []
        self.raw = b""
        self.services: set[str] = set()
        self.requests: list[tuple[str, bytes]] = []
        """Paths and bodies."""
        self.status = 200
        self._spans: list[Span] = []
        self._arrived = threading.Condition()

    def take(self, headers: dict[str, str], body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self._arrived:
            self.headers.append(headers)
            self.raw += body
            for resource in request.resource_spans:
                self.services.add(str(attributes(resource.resource)["service.name"]))
                self._spans += [span for scope in resource.scope_spans for span in scope.spans]
            self._arrived.notify_all()

    def arrived(self, fits: Callable[[tuple[str, bytes]], bool]) -> tuple[str, bytes]:
        """The first request that fits, when it is there."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: any(map(fits, self.requests)), SECONDS), self.requests
            return next(filter(fits, self.requests))

    def keep(self, path: str, body: bytes) -> None:
        with self._arrived:
            self.requests.append((path, body))
            self._arrived.notify_all()

    def spans(self, count: int) -> list[Span]:
        """All spans, when there are so many."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self._spans) >= count, SECONDS), len(self._spans)
            return list(self._spans)


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path in ("/v1/traces", "/v1/metrics", "/v1/logs")
            if self.path == "/v1/traces":
                found.take(dict(self.headers), body)
            found.keep(self.path, body)
            self.send_response(found.status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.05), daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join(SECONDS)


def attributes(of: Any) -> dict[str, Any]:
    return {one.key: _value(one.value) for one in of.attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind or "string_value")
