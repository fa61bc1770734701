"""What is told of a call when it is over: metrics and a span. What is off is not imported and costs nothing."""

import logging

from extproc.config.schema import Config
from extproc.events import Record
from extproc.gateway.record import presentable
from extproc.policy.facts import Facts
from extproc.transport.sampling import RefusalSampler

log = logging.getLogger("extproc")


class Observer:
    """One per process."""

    def __init__(self, settings: Config) -> None:
        self.refusals = RefusalSampler(settings.limits.refusals_logged)
        self._metrics = None
        if settings.metrics is not None:
            from extproc.transport.metrics import Metrics

            self._metrics = Metrics(settings)

    def begin(self) -> None:
        """A call has come."""
        if self._metrics is not None:
            self._metrics.begin()

    def end(self, facts: Facts, record: Record, now: float) -> None:
        """The call is over. `record`: all that was put on record of it; `now`: Unix seconds."""
        if self._metrics is None and facts.span is None:
            return
        record = presentable(record)
        if self._metrics is not None:
            try:
                self._metrics.end(record, now - facts.started)
            except OSError as error:  # a full disk takes no new series; that must not cost calls
                log.error("a call was not counted: %s", error.strerror)
        if facts.span is not None:
            facts.span.end(record, now)
