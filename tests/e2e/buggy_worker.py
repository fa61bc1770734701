"""A worker with a bug: `buggy_worker.py CONFIG ADDRESS LEAVE`. It raises where a header of the call says so."""

import sys

from extproc.events import Action, Event
from extproc.gateway.exchange import Exchange
from extproc.policy.facts import Accepted, Examined, Planned
from extproc.transport.worker import main

HEADER = "x-bug"
SECRET = "sk-quoted-by-a-bug"
_accept, _send, _handle = Exchange.accept, Exchange.send, Exchange.handle


def _fail(exchange: Exchange, name: str) -> None:
    """`x-bug`: the event's type and, for an answer, whether it is held or flows."""
    here = f"{name} {type(exchange.answer.state).__name__}"
    if here.startswith(exchange.call.request.headers.get(HEADER, "none")):
        raise RuntimeError(SECRET)


def _failing_accept(self: Exchange, call: Accepted, now: float, *, end: bool) -> Action:
    _fail(self, "RequestHeaders")
    return _accept(self, call, now, end=end)


def _failing_send(self: Exchange, asked: Examined | Planned, now: float, configuration: int = 0) -> Action:
    _fail(self, "RequestBody")
    return _send(self, asked, now, configuration)


def _failing_handle(self: Exchange, event: Event, now: float) -> list[Action]:
    _fail(self, type(event).__name__)
    return _handle(self, event, now)


if __name__ == "__main__":
    Exchange.accept, Exchange.send, Exchange.handle = _failing_accept, _failing_send, _failing_handle  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))
