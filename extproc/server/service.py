"""One gRPC stream is one exchange. Whatever goes wrong here, the call does not pass."""

import asyncio
import logging
import time
import traceback

import grpc

from extproc import pb
from extproc.events import Event, Record, Silence
from extproc.gateway import Gateway
from extproc.server import metrics
from extproc.server.gateways import Gateways
from extproc.server.messages import to_event, to_responses

log = logging.getLogger("extproc")

Context = grpc.aio.ServicerContext[pb.ProcessingRequest, pb.ProcessingResponse]


class Service(pb.ExternalProcessorServicer):
    def __init__(self, gateways: Gateways) -> None:
        self._gateways = gateways

    async def Process(self, request_iterator: object, context: Context) -> None:  # noqa: N802 - gRPC's name
        """Reads until Envoy has closed its half: a clean end before that would let the request pass unchecked."""
        stream = _Stream(self._gateways.current(), context)
        try:
            await stream.run()
        except Exception as error:  # noqa: BLE001 - whatever it is, the call must not pass
            log.error("exchange failed: %s", _where(error))
            await context.abort(grpc.StatusCode.INTERNAL, "processor failed")
        finally:
            stream.close()


class _Stream:
    def __init__(self, gateway: Gateway, context: Context) -> None:
        self._gateway = gateway
        self._context = context
        self._exchange = gateway.exchange(time.time())
        self._writing = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._waking: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None
        self._record: Record = {}

    async def run(self) -> None:
        self._running = asyncio.current_task()
        while True:
            request = await self._context.read()
            if request == grpc.aio.EOF:
                return
            async with self._writing:
                await self._handle(to_event(request), request)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._waking is not None:
            self._waking.cancel()
        if self._record:
            metrics.observe(self._record)

    async def _handle(self, event: Event, request: pb.ProcessingRequest | None) -> None:
        now = time.time()
        try:
            actions = await self._gateway.handle(self._exchange, event, now)
        except Exception as error:  # noqa: BLE001 - a bug ends one exchange, in the client's dialect
            log.error("exchange failed: %s", _where(error))
            actions = self._exchange.fail()
        for action in actions:
            self._record |= action.record
        for response in to_responses(actions, request):
            await self._context.write(response)
        self._set_timer()

    def _set_timer(self) -> None:
        """A deadline moves with every piece of an answer. A timer that is too early looks again; only one that would
        be too late is replaced."""
        deadline = self._exchange.deadline
        if deadline is None or (self._timer is not None and self._due <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = deadline
        self._timer = asyncio.get_running_loop().call_later(max(0.0, deadline - time.time()), self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._waking = asyncio.create_task(self._say_something())

    async def _say_something(self) -> None:
        try:
            async with self._writing:
                deadline = self._exchange.deadline
                if deadline is not None and deadline <= time.time():
                    await self._handle(Silence(), None)
                else:
                    self._set_timer()
        except Exception as error:  # noqa: BLE001 - as in `Process`: what cannot go on must not hang
            log.error("exchange failed: %s", _where(error))
            if self._running is not None:
                self._running.cancel()


def _where(error: Exception) -> str:
    """Type and place only: the text of an exception may quote what a client sent."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename.rpartition('extproc/')[2]}:{frame.lineno}"
