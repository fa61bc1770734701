"""Which refusals go into the log: all of known callers, and so many a second of those without a credential."""

import asyncio
import logging
import time
from collections.abc import Callable

from extproc.config.schema_limits import REFUSALS_BURST
from extproc.events import Action, Respond
from extproc.gateway.record import LEFT_OUT
from extproc.policy.facts import Facts

log = logging.getLogger("extproc")

REPORT_SECONDS = 60.0


class RefusalSampler:
    """A token bucket for one worker. What it leaves out is counted, and said once a minute."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._most = max(1.0, per_second * REFUSALS_BURST)
        self._tokens = self._most
        self._clock = clock
        self._filled = clock()
        self._left_out = 0

    def mark(self, facts: Facts, action: Action) -> None:
        """Adds to the record of a refusal that it is not to be logged."""
        if not isinstance(action, Respond) or facts.caller.kind != "anonymous" or "reason" not in action.record:
            return
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._filled) * self._per_second)
        self._filled = now
        if self._tokens >= 1:
            self._tokens -= 1
            return
        action.record[LEFT_OUT] = True
        if not self._left_out:
            asyncio.get_running_loop().call_later(REPORT_SECONDS, self.report)
        self._left_out += 1

    def report(self) -> None:
        """Says how many were left out since it was last said."""
        log.warning("%d refusals of callers without a credential were left out of the log", self._left_out)
        self._left_out = 0
