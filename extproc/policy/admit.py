"""How much one worker takes on at a time. Beyond it callers are told to come back, before their body is read."""

from dataclasses import dataclass

from extproc.endpoints import READS_BODY
from extproc.errors import Kind, Reason, Rejection
from extproc.facts import Facts
from extproc.schema import Config

RETRY_AFTER_SECONDS = 2


@dataclass
class Held:
    """What one worker has taken on, whatever configurations its calls began with."""

    calls: int = 0
    body_bytes: int = 0


class Admit:
    """Runs last at the headers: who is refused anyway takes no room."""

    def __init__(self, settings: Config, held: Held) -> None:
        self._limits = settings.limits
        self._max_body_bytes = settings.max_body_bytes
        self.held = held

    async def __call__(self, facts: Facts, now: float) -> Rejection | None:
        if facts.endpoint is None or facts.endpoint.operation not in READS_BODY:
            return None
        size = self._size(facts)
        if self.held.calls >= self._limits.calls or self.held.body_bytes + size > self._limits.body_bytes:
            return _OVERLOADED
        self.held.calls += 1
        self.held.body_bytes += size
        facts.admitted, facts.held_bytes = True, size
        return None

    def body_sent(self, facts: Facts) -> None:
        """The provider has the body and answers; a stream may last for minutes from here."""
        self.held.body_bytes -= facts.held_bytes
        facts.held_bytes = 0

    def over(self, facts: Facts) -> None:
        self.body_sent(facts)
        self.held.calls -= facts.admitted
        facts.admitted = False

    def _size(self, facts: Facts) -> int:
        """What is sent in chunks may be as large as is allowed."""
        length = facts.headers.get("content-length")
        return int(length) if length.isdecimal() else self._max_body_bytes


_OVERLOADED = Rejection(
    kind=Kind.OVERLOADED,
    message="the gateway is busy, try again in a moment",
    reason=Reason.OVERLOADED,
    detail="overloaded",
    # Claude Code gives up after three answers of 529, but not of 503.
    status=503,
    headers=(("retry-after", str(RETRY_AFTER_SECONDS)),),
)
