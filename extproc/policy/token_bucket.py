"""A token bucket: so many a second on the average, and some more at once."""

import time
from collections.abc import Callable


class TokenBucket:
    def __init__(self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`burst`: how many seconds' worth may come at once after a quiet time. `clock`: seconds, of any origin."""
        self._per_second = per_second
        self._most = max(1.0, per_second * burst)
        self._tokens = self._most
        self._clock = clock
        self._filled = clock()

    def take(self) -> bool:
        """Takes one token. False: there is none at the moment."""
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._filled) * self._per_second)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
