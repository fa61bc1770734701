"""Bounds the frames without a message that a peer may send: a flood of them ends the connection."""

import time
from collections.abc import Callable

from extproc.transport.builtin.frames import Code, ConnectionFailed

# Frames by which floods have ended servers: CONTINUATION without end (CVE-2024-27316), streams that are reset at once
# (CVE-2023-44487) or that the server is made to reset (CVE-2025-8671), PING (CVE-2019-9512), SETTINGS (CVE-2019-9515)
# and empty frames (CVE-2019-9518). None is forbidden, so each has a price.

# In units of about a microsecond of CPU.
BURST = 200_000
PER_SECOND = 100_000
"""A tenth of a core. An honest Envoy needs a few units for each call."""

CHEAP, CONTROL, REFUSAL = 2, 5, 20
SMALL_DATA_BYTES = 16
"""DATA frames below this size cost CHEAP."""
_FREE_HEADER_BYTES = 256
_HEADER_BYTES_PER_UNIT = 16
_STREAMS_PER_UNIT = 4


class Allowance:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds from any start."""
        self._clock = clock
        self._left = BURST
        self._refilled_at = clock()

    def spend(self, cost: int) -> None:
        """Raises ConnectionFailed when nothing is left."""
        self._left -= cost
        if self._left < 0:
            now = self._clock()
            earned = int((now - self._refilled_at) * PER_SECOND)
            self._left = min(self._left + earned, BURST)
            self._refilled_at = now
            if self._left < 0:
                raise ConnectionFailed(Code.ENHANCE_YOUR_CALM)

    def spend_on_block(self, size: int) -> None:
        """A header block of `size` bytes."""
        if size > _FREE_HEADER_BYTES:
            self.spend(size // _HEADER_BYTES_PER_UNIT)

    def spend_on_windows(self, streams: int) -> None:
        """SETTINGS that change the window of each of `streams`."""
        self.spend(streams // _STREAMS_PER_UNIT)
