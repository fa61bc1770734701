"""One thing at a time, in turns: a caller with many waiting calls does not hold up the others."""

import asyncio
import contextlib
from collections import OrderedDict, deque


class Full(Exception):
    """Nobody else may wait now."""


class FairQueue:
    def __init__(self, for_caller: int, in_all: int) -> None:
        """How many calls may wait."""
        self._for_caller = for_caller
        self._in_all = in_all
        self._taken = False
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def acquire(self, caller: str) -> None:
        """Raises Full."""
        if not self._taken:
            self._taken = True
            return
        own = self._waiting.get(caller, ())
        if len(own) >= self._for_caller or sum(map(len, self._waiting.values())) >= self._in_all:
            raise Full
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            self._leave(caller, turn)
            raise

    def release(self) -> None:
        """The next caller's oldest call has its turn; the caller goes to the end."""
        while self._waiting:
            caller, own = next(iter(self._waiting.items()))
            turn = own.popleft()
            self._waiting.move_to_end(caller)
            if not own:
                del self._waiting[caller]
            if not turn.cancelled():  # else its call has given up, and has not run since to say so
                turn.set_result(None)
                return
        self._taken = False

    def _leave(self, caller: str, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self.release()  # it had its turn, and cannot use it
            return
        with contextlib.suppress(ValueError, KeyError):
            own = self._waiting[caller]
            own.remove(turn)
            if not own:
                del self._waiting[caller]
