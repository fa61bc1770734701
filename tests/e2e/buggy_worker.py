"""A worker with a bug: `buggy_worker.py CONFIG ADDRESS LEAVE`. It raises where a header of the call says so."""

import sys

from extproc.events import Action, Event
from extproc.gateway.exchange import Exchange
from extproc.transport.worker import main

HEADER = "x-bug"
SECRET = "sk-quoted-by-a-bug"
_handle = Exchange.handle


def _fail(self: Exchange, event: Event, now: float) -> list[Action]:
    """`x-bug`: the event's type and, for an answer, whether it is held or flows."""
    here = f"{type(event).__name__} {self._answer._state.name}"
    if here.startswith(self.facts.headers.get(HEADER, "none")):
        raise RuntimeError(SECRET)
    return _handle(self, event, now)


if __name__ == "__main__":
    Exchange.handle = _fail  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))
