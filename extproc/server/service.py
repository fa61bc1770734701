"""One gRPC stream is one exchange. Whatever goes wrong here, the call does not pass."""

import asyncio
import logging
import time
import traceback
from collections import deque

from extproc import pb
from extproc.events import Action, Event, Record, Silence
from extproc.server.calls import Call, Status
from extproc.server.gateways import Gateways
from extproc.server.messages import to_event, to_responses
from extproc.server.observe import Observer

log = logging.getLogger("extproc")

PROCESS = b"/envoy.service.ext_proc.v3.ExternalProcessor/Process"


class Stream:
    """Ends when Envoy has closed its half: a clean end before that would let the request pass unchecked."""

    def __init__(self, gateways: Gateways, observer: Observer, call: Call) -> None:
        self._gateway = gateways.current()
        self._observer = observer
        self._call = call
        self._exchange = self._gateway.exchange(time.time())
        self._waiting: deque[bytes] = deque()
        """What came while policy makes up its mind."""
        self._deciding: asyncio.Task[None] | None = None
        self._finished = False
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._record: Record = {}
        observer.begin()

    def received(self, message: bytes) -> None:
        self._waiting.append(message)
        if self._deciding is None:
            self._go_on()

    def finished(self) -> None:
        self._finished = True
        if self._deciding is None:
            self._call.end()

    def closed(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._deciding is not None:
            self._deciding.cancel()
        self._gateway.ended(self._exchange)
        self._observer.end(self._exchange.facts, self._record, time.time())

    def _go_on(self) -> None:
        while self._waiting and self._deciding is None and not self._call.ended:
            try:
                self._take(pb.ProcessingRequest.FromString(self._waiting.popleft()))
            except Exception as error:  # noqa: BLE001 - whatever it is, the call must not pass
                self._abort(error)
        if self._finished and self._deciding is None:
            self._call.end()

    def _take(self, request: pb.ProcessingRequest) -> None:
        event = to_event(request)
        if self._gateway.decides(event):
            self._deciding = asyncio.create_task(self._decide(event, request))
            return
        self._carry_out(self._handled(event), request)

    def _handled(self, event: Event) -> list[Action]:
        try:
            return self._gateway.go_on(self._exchange, event, time.time())
        except Exception as error:  # noqa: BLE001 - a bug ends one exchange, in the client's dialect
            return self._failed(error)

    async def _decide(self, event: Event, request: pb.ProcessingRequest) -> None:
        """Policy may wait, for instance for an issuer's keys."""
        try:
            try:
                actions = await self._gateway.handle(self._exchange, event, time.time())
            except Exception as error:  # noqa: BLE001 - as in `_handled`
                actions = self._failed(error)
            self._carry_out(actions, request)
        except Exception as error:  # noqa: BLE001 - as in `_go_on`
            self._abort(error)
        self._deciding = None
        self._go_on()

    def _failed(self, error: Exception) -> list[Action]:
        log.error("exchange failed: %s", _where(error))
        return self._exchange.fail()

    def _abort(self, error: Exception) -> None:
        log.error("exchange failed: %s", _where(error))
        self._call.end(Status.INTERNAL, "processor failed")

    def _carry_out(self, actions: list[Action], request: pb.ProcessingRequest | None) -> None:
        for action in actions:
            self._record |= action.record
        for response in to_responses(actions, request):
            self._call.write(response.SerializeToString())
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
        deadline = self._exchange.deadline
        if deadline is None or deadline > time.time():
            self._set_timer()
            return
        try:
            self._carry_out(self._handled(Silence()), None)
        except Exception as error:  # noqa: BLE001 - as in `_go_on`
            self._abort(error)


def _where(error: Exception) -> str:
    """Type and place only: the text of an exception may quote what a client sent."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename.rpartition('extproc/')[2]}:{frame.lineno}"
