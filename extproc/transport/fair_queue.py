"""A lock for one call at a time, given to callers in turns: one with many waiting calls does not hold up the others."""

import asyncio
import contextlib
from collections import OrderedDict, deque


class Full(Exception):
    """As many calls wait as may."""


class FairQueue:
    def __init__(self, for_caller: int, in_all: int) -> None:
        """`for_caller`, `in_all`: how many calls may wait."""
        self._for_caller = for_caller
        self._in_all = in_all
        self._taken = False
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def acquire(self, caller: str) -> None:
        """Returns when it is this call's turn. Raises Full."""
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
        """Gives the turn to the oldest call of the next caller, who then goes to the end of the queue."""
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
