"""`/v1/metrics`, `/v1/logs`, `/v1/traces`: telemetry of signed-in clients, marked with who they are, and passed on."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from extproc.config.schema import Config
from extproc.config.schema_telemetry import Signal
from extproc.policy.facts import Caller
from extproc.web import otlp
from extproc.web.context import Context, caller_of
from extproc.web.relay import Relay

SIGNALS: tuple[Signal, ...] = ("metrics", "logs", "traces")
MAX_READERS = 4
"""Bodies that are read at the same time, each in a thread; further ones wait."""


def routes(context: Context) -> list[Route]:
    intake = _Intake(context)
    return [Route(f"/v1/{signal}", partial(intake.take, signal), methods=["POST"]) for signal in SIGNALS]


class _Intake:
    def __init__(self, context: Context) -> None:
        settings = context.gateway.source.config.telemetry
        assert settings is not None
        self._context = context
        self._claims = settings.identity
        self._count = _counter(context.gateway.source.config)
        self._reading = asyncio.Semaphore(MAX_READERS)
        self._relays = [
            Relay(collector, context.clients.trusting(collector.roots), self._count)
            for collector in context.gateway.collectors
        ]

    async def take(self, signal: Signal, request: Request) -> Response:
        caller = await caller_of(request, self._context)
        body = await request.body()
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        encoding = request.headers.get("content-encoding", "").strip().lower()
        try:
            async with self._reading:
                stamped = await asyncio.to_thread(otlp.stamped, signal, body, media, encoding, self._identity(caller))
        except otlp.Unreadable as error:
            self._count(signal, "unreadable")
            return PlainTextResponse(str(error), 400)
        if not self._relays:
            self._count(signal, "no_collector")
        for relay in self._relays:
            relay.put(signal, stamped)
        # An empty message is the whole answer, in either form.
        return Response(b"{}" if media == otlp.JSON else b"", media_type=media)

    def _identity(self, caller: Caller) -> Mapping[str, Any]:
        found = {name: caller.claims.get(claim) for name, claim in self._claims.items()}
        return {name: value for name, value in found.items() if value is not None}


def _counter(config: Config) -> Callable[[str, str], None]:
    """Counts a request by its signal and by what became of it; nothing where no metrics are configured."""
    if config.metrics is None:
        return lambda _signal, _result: None
    from extproc.transport.metrics import count_telemetry

    return count_telemetry
