"""A request that passed as it came, and what is read of its answer."""

from typing import Protocol

from extproc.errors import Rejection
from extproc.providers.profiles import Profile
from extproc.translate.pair import Outcome, Translated


class Passed(Translated, frozen=True, kw_only=True, tag="same_dialect"):
    profile: Profile
    choices: int = 1
    """Chat: how many answers were asked for."""
    hide_usage: bool = False
    """Chat: the usage was asked for by us, so its chunk is not for the client."""


class Meter(Protocol):
    outcome: Outcome
    """Grows with what is read; `failure` ends the answer."""
    counted: bool
    """The provider has said what was used in all."""
    begun: bool
    """The first event of an answer is here; until then a failure still decides the status."""

    def matters(self, events: bytes) -> bool:
        """Whether any of these events has to be read; cheap, and rather yes than no."""
        ...

    def event(self, raw: bytes) -> bytes:
        """Reads one event; what the client gets in its place, mostly the event."""
        ...

    def whole(self, body: bytes) -> None:
        """Reads an answer that is no stream."""
        ...

    def ended(self) -> bool:
        """The stream is over: whether its answer is complete."""
        ...

    def failed(self, rejection: Rejection) -> bytes:
        """The event that ends a stream which cannot be completed."""
        ...


def word(value: object) -> str:
    """For the record: a name of the upstream's choosing."""
    return value[:200] if isinstance(value, str) else ""
