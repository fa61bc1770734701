"""Metrics and spans of calls, and the sampling of refusals for the log. What is off is not imported."""

import asyncio
import logging
import os
import time
from collections.abc import Callable

from extproc.config.schema import Config
from extproc.config.schema_limits import REFUSALS_BURST
from extproc.events import Action, Record, Respond
from extproc.gateway.record import LEFT_OUT, presentable
from extproc.policy.facts import Caller, Request
from extproc.policy.token_bucket import TokenBucket

log = logging.getLogger("extproc")

SENDS = "EXTPROC_SENDS_CALLS"
"""The variable that tells a worker to send records of calls to its supervisor, which keeps the ledger."""
REPORT_SECONDS = 60.0
CLOSE_SECONDS = 2.0


class Observer:
    """One per process."""

    def __init__(self, settings: Config) -> None:
        self.refusals = RefusalSampler(settings.limits.refusals_logged)
        self._metrics = None
        if settings.metrics is not None:
            from extproc.transport.metrics import Metrics

            self._metrics = Metrics(settings)
        self._usage = None
        if settings.usage is not None and os.environ.get(SENDS):
            from extproc.transport.usage_sender import UsageSender

            self._usage = UsageSender()

    def begin(self) -> None:
        """A call has come."""
        if self._metrics is not None:
            self._metrics.begin()

    def end(self, request: Request, record: Record, now: float) -> None:
        """The call is over. `record`: all that was put on record of it; `now`: Unix seconds."""
        if self._metrics is None and request.span is None and self._usage is None:
            return
        record = presentable(record)
        if self._metrics is not None:
            try:
                self._metrics.end(record, now - request.started)
            except OSError as error:  # a full disk takes no new series; that must not cost calls
                log.error("a call was not counted: %s", error.strerror)
        if request.span is not None:
            request.span.end(record, now)
        if self._usage is not None:
            self._usage.send(record, request.started, now)

    def close(self) -> None:
        """No call will end any more."""
        if self._usage is not None:
            self._usage.close(CLOSE_SECONDS)


class RefusalSampler:
    """Chooses which refusals are logged: all of known callers, and so many a second of those without a credential.
    For one worker; what it leaves out is counted, and said once a minute."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._logged = TokenBucket(per_second, REFUSALS_BURST, clock)
        self._left_out = 0

    def mark(self, caller: Caller, action: Action) -> None:
        """Adds to the record of a refusal that it is not to be logged."""
        if not isinstance(action, Respond) or caller.kind != "anonymous" or "reason" not in action.record:
            return
        if self._logged.take():
            return
        action.record[LEFT_OUT] = True
        if not self._left_out:
            asyncio.get_running_loop().call_later(REPORT_SECONDS, self.report)
        self._left_out += 1

    def report(self) -> None:
        """Says how many were left out since it was last said."""
        log.warning("%d refusals of callers without a credential were left out of the log", self._left_out)
        self._left_out = 0
