"""Where a worker takes amounts of budgets: it asks the supervisor, down the pipe that there is."""

import asyncio
import itertools
import logging
from collections.abc import Sequence

from extproc.store.counters import Claim, Settlement, Taken
from extproc.transport import orders
from extproc.transport.orders import BudgetReply, BudgetRequest

log = logging.getLogger("extproc")

ANSWER_SECONDS = 4.5
"""Envoy waits five for a message; a store may take four, unless it is configured."""
COLLECTING_SECONDS = 0.05
"""What calls use up of slices is told for many calls at once. A pipe that is full is tried again after this time."""
MAX_SETTLEMENTS = 25
"""For one line, and as many ids: a pipe that can be written to has room for 4 KB, and a longer line could wait."""


class SupervisorsBank:
    """See policy.budgets.wallet.Bank."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[Sequence[Claim], asyncio.Future[Taken | None]]] = {}
        self._unsent: list[tuple[Settlement | None, str]] = []
        """Each with the call that it is the last of, if it is one's last."""
        self._is_sent_later = False

    async def take(self, claims: Sequence[Claim]) -> Taken | None:
        if not orders.can_say():
            return None
        number = next(self._ids)
        answer: asyncio.Future[Taken | None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = claims, answer
        orders.say_budgets(BudgetRequest(number, list(claims)))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except TimeoutError:
            self._return(claims, answer)
            return None
        except asyncio.CancelledError:
            self._return(claims, answer)
            raise

    def answered(self, reply: BudgetReply) -> None:
        """The supervisor has answered. If nobody waits any more, it goes back."""
        claims, answer = self._waiting.pop(reply.id, ((), None))
        if answer is None:
            return
        if answer.done():
            self._give_back(claims, reply.taken)
        else:
            answer.set_result(reply.taken)

    def settle(self, settlements: list[Settlement], call: str = "") -> None:
        """Sends them soon, where the supervisor counts as much used or held before as after; else at once."""
        self._unsent += [(one, "") for one in settlements]
        if call:
            last = self._unsent.pop()[0] if settlements else None
            self._unsent.append((last, call))
        if all(one.used == one.released for one in settlements):
            self._send_later()
        else:
            self.flush()

    def recalled(self) -> None:
        """Tells the supervisor that what it called back is there, so that it need not wait until its time is over."""
        self.flush()
        if not self._unsent and orders.can_say():
            orders.say_budgets(BudgetRequest(recalled=True))

    def flush(self) -> None:
        """Sends all settlements. A pipe that is full belongs to a supervisor that hangs, and calls do not wait for
        it."""
        while self._unsent and orders.can_say():
            now, self._unsent = self._unsent[:MAX_SETTLEMENTS], self._unsent[MAX_SETTLEMENTS:]
            settlements = [one for one, _ in now if one is not None]
            orders.say_budgets(BudgetRequest(settlements=settlements, ended=[call for _, call in now if call]))
        if self._unsent:
            self._send_later()

    def _send_later(self) -> None:
        if not self._is_sent_later:
            self._is_sent_later = True
            asyncio.get_running_loop().call_later(COLLECTING_SECONDS, self._collected)

    def _collected(self) -> None:
        self._is_sent_later = False
        self.flush()

    def _return(self, claims: Sequence[Claim], answer: "asyncio.Future[Taken | None]") -> None:
        """The call is gone. An answer that is here goes back; one that comes later does, too."""
        if answer.done() and not answer.cancelled():
            self._give_back(claims, answer.result())

    def _give_back(self, claims: Sequence[Claim], taken: Taken | None) -> None:
        if taken is not None and taken.granted:
            pairs = zip(claims, taken.granted, strict=True)
            self.settle([Settlement(claim.account, claim.bucket, claim.ends, 0, granted) for claim, granted in pairs])
