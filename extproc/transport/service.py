"""One gRPC stream is one exchange. Whatever goes wrong here, the call does not pass."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any, Protocol

from extproc import pb
from extproc.events import Action, AttemptHeaders, DeadlineReached, Event, Record
from extproc.gateway.handover import decoded
from extproc.gateway.verdicts import Verdicts
from extproc.policy.facts import Caller, Located
from extproc.transport.calls import Call, Status, where
from extproc.transport.gateways import Gateways
from extproc.transport.messages import attempts_record, to_event, to_responses
from extproc.transport.observe import Observer

log = logging.getLogger("extproc")

PROCESS = b"/envoy.service.ext_proc.v3.ExternalProcessor/Process"
MAX_WAITING = 16
"""Messages that may wait for a decision. Envoy sends hardly any before it has the reply to headers or body."""


class Stage(Protocol):
    """An exchange, or one attempt of it."""

    @property
    def call(self) -> Located: ...
    @property
    def caller(self) -> Caller: ...
    @property
    def deadline(self) -> float | None: ...
    @property
    def verdicts(self) -> Verdicts | None: ...
    def fail(self) -> list[Action]: ...


class Steps(Protocol):
    """What a stage is put through."""

    def ended(self, exchange: Any, seen: Record) -> None: ...
    def decides(self, event: Event) -> bool: ...
    async def handle(self, exchange: Any, event: Event, now: float) -> list[Action]: ...
    def go_on(self, exchange: Any, event: Event, now: float) -> list[Action]: ...


class Stream:
    """Ends when Envoy has closed its half: a clean end before that would let the request pass unchecked."""

    def __init__(self, gateways: Gateways, observer: Observer, call: Call) -> None:
        self._observer = observer
        self._call = call
        self._clock_offset = time.time() - time.monotonic()
        self._gateways = gateways
        self._configuration = gateways.acquire()
        self._gateway = self._configuration.gateway
        self._steps: Steps = self._gateway
        self._exchange: Stage = self._gateway.exchange(self._now())
        self._is_attempt: bool | None = None
        """None: nothing has come yet."""
        self._is_counted = False
        """It is a call of its own for metrics and spans: an admission, or the copy of a call."""
        self._waiting: deque[bytes] = deque()
        """What came while policy makes up its mind."""
        self._deciding: asyncio.Task[None] | None = None
        self._finished = False
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._record: Record = {}
        self._last: pb.ProcessingRequest | None = None
        """The newest message that tells what the attempts of this call have put on record."""

    def received(self, message: bytes) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._call.end(Status.RESOURCE_EXHAUSTED, "too many messages before a reply")
            return
        self._waiting.append(message)
        if self._deciding is None:
            self._go_on()

    # Envoy closes its half when the call is over for it, and in the same way when the client has left.
    def finished(self) -> None:
        self._finished = True
        if self._deciding is None:
            self._call.end()

    def closed(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._deciding is not None:
            self._deciding.cancel()
        try:
            if self._is_counted and self._last is not None:
                self._record = attempts_record(self._last) | self._record
            self._steps.ended(self._exchange, self._record)
            if self._is_counted:
                self._observer.end(self._exchange.call.request, self._record, self._now())
        finally:
            self._gateways.release(self._configuration)

    def _now(self) -> float:
        """Unix seconds by the clock as it stood when the stream began: a step of the clock moves no deadline."""
        return self._clock_offset + time.monotonic()

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
        if self._is_attempt is None:
            self._is_attempt = isinstance(event, AttemptHeaders)
            self._is_counted = not isinstance(event, AttemptHeaders) or event.is_copy
            if self._is_counted:
                self._observer.begin()
        if request.HasField("metadata_context") and not self._is_attempt:
            self._last = request
        if isinstance(event, AttemptHeaders):
            self._deciding = asyncio.create_task(self._attempt(event, request))
            return
        if self._steps.decides(event):
            self._deciding = asyncio.create_task(self._decide(event, request))
            return
        actions = self._handled(event)
        verdicts = self._exchange.verdicts
        if verdicts is not None and verdicts.open:
            # What `request` wants to have replied last waits for the verdicts, as all that Envoy sends meanwhile.
            self._carry_out(actions, None)
            self._deciding = asyncio.create_task(self._judge(request))
            return
        self._carry_out(actions, request)

    async def _attempt(self, event: AttemptHeaders, request: pb.ProcessingRequest) -> None:
        """This stream is an attempt of a call that was admitted on another one, perhaps by another worker, with a
        configuration that has to be the same here."""

        async def begun() -> list[Action]:
            handover = decoded(event.handover)
            configuration = await self._gateways.acquire_same(handover.configuration)
            self._gateways.release(self._configuration)
            self._configuration = configuration
            self._gateway = configuration.gateway
            steps = self._gateway.attempts
            self._steps, self._exchange = steps, steps.exchange(self._now())
            return await steps.handle(self._exchange, event, self._now())

        await self._carry_out_later(begun(), request)

    def _handled(self, event: Event) -> list[Action]:
        try:
            return self._steps.go_on(self._exchange, event, self._now())
        except Exception as error:  # noqa: BLE001 - a bug ends one exchange, in the client's dialect
            return self._failed(error)

    async def _decide(self, event: Event, request: pb.ProcessingRequest) -> None:
        """Policy may wait, for instance for an issuer's keys."""
        await self._carry_out_later(self._steps.handle(self._exchange, event, self._now()), request)

    async def _judge(self, request: pb.ProcessingRequest) -> None:
        """The end of an answer waits for a verdict on its calls of tools."""

        async def judged() -> list[Action]:
            return self._handled(await self._gateway.judge(self._exchange.call, self._exchange.verdicts))

        await self._carry_out_later(judged(), request)

    async def _carry_out_later(self, decided: Coroutine[Any, Any, list[Action]], request: pb.ProcessingRequest) -> None:
        """Replies to `request` once it is decided how, and goes on with what has come meanwhile."""
        try:
            try:
                actions = await decided
            except Exception as error:  # noqa: BLE001 - as in `_handled`
                actions = self._failed(error)
            self._carry_out(actions, request)
        except Exception as error:  # noqa: BLE001 - as in `_go_on`
            self._abort(error)
        self._deciding = None
        self._go_on()

    def _failed(self, error: Exception) -> list[Action]:
        log.error("exchange failed: %s", where(error))
        return self._exchange.fail()

    def _abort(self, error: Exception) -> None:
        log.error("exchange failed: %s", where(error))
        # An error's text goes into Envoy's access log, so it is always the same. Any status but OK refuses the call; a
        # clean end would let it pass.
        self._call.end(Status.INTERNAL, "processor failed")

    def _carry_out(self, actions: list[Action], request: pb.ProcessingRequest | None) -> None:
        for action in actions:
            self._observer.refusals.mark(self._exchange.caller, action)
            self._record |= action.record
        for response in to_responses(actions, request, of_attempt=bool(self._is_attempt)):
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
        self._timer = asyncio.get_running_loop().call_later(max(0.0, deadline - self._now()), self._wake)

    def _wake(self) -> None:
        self._timer = None
        deadline = self._exchange.deadline
        if deadline is None or deadline > self._now():
            self._set_timer()
            return
        try:
            self._carry_out(self._handled(DeadlineReached()), None)
        except Exception as error:  # noqa: BLE001 - as in `_go_on`
            self._abort(error)
