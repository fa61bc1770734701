"""Which providers the workers leave out, decided for all of them together, and at once known to all of them."""

import asyncio
import logging
import time
from collections.abc import Callable

from extproc.config.loading import Source
from extproc.providers.availability import AvailabilityUpdate, CoolDowns, OutcomeSummary, ProviderState

log = logging.getLogger("extproc")

PUSH_SECONDS = 0.005
"""Changes are collected for so long, so that a provider that fails now and then does not flood the workers."""


class ProviderHealth:
    """Lives as long as the supervisor: a worker that crashes loses nothing, a restart begins anew."""

    def __init__(self, tell: Callable[[AvailabilityUpdate], None], clock: Callable[[], float] = time.time) -> None:
        """`tell`: sends an update to all workers."""
        self.cool_downs = CoolDowns()
        self._tell = tell
        self._clock = clock
        self._pushed = self.cool_downs.update()
        self._pushing = False

    def use(self, source: Source) -> None:
        """Takes the providers of the configuration that is in force now."""
        self.cool_downs.use({name: provider.outliers for name, provider in source.config.providers.items()})

    def news(self) -> list[AvailabilityUpdate]:
        """Returns what a worker that starts now is to know."""
        update = self.cool_downs.update()
        return [update] if update.until or update.suspects else []

    def states(self) -> dict[str, ProviderState]:
        """Returns the state of each provider."""
        return self.cool_downs.states(self._clock())

    def reported(self, summary: OutcomeSummary) -> None:
        """Counts what a worker has reported."""
        now = self._clock()
        if self.cool_downs.report(summary, now):
            found = self.cool_downs.states(now)[summary.provider]
            reason = "it asked for it (retry-after)" if found.reason == "retry_after" else "it failed again and again"
            log.warning("%s is left out for %.0f s: %s", summary.provider, (found.until or now) - now, reason)
        self.push_soon()

    def drain(self, provider: str) -> None:
        """Leaves the provider out until `resume`. Raises KeyError."""
        self.cool_downs.drain(provider)
        log.warning("%s is left out until it is resumed: drained by hand", provider)
        self.push_soon()

    def resume(self, provider: str) -> None:
        """Makes the provider available at once. Raises KeyError."""
        self.cool_downs.resume(provider)
        log.info("%s is available: resumed by hand", provider)
        self.push_soon()

    def push_soon(self) -> None:
        """Tells the workers what has changed, in a moment."""
        if not self._pushing:
            self._pushing = True
            asyncio.get_running_loop().call_later(PUSH_SECONDS, self._push)

    def _push(self) -> None:
        self._pushing = False
        if (update := self.cool_downs.update()) != self._pushed:
            self._pushed = update
            self._tell(update)
