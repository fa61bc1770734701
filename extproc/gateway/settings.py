"""The part of the configuration that an exchange needs."""

from dataclasses import dataclass, field

from extproc.providers.prices import Prices


@dataclass(frozen=True, slots=True)
class BodyTime:
    """The time that a request's body may take to arrive."""

    idle: float
    """Seconds without a byte. A body may take this long, and longer by its size."""
    min_rate: float
    """Bytes a second."""
    largest: int
    """Size of a body that does not announce one."""

    def seconds(self, content_length: str) -> float:
        size = int(content_length) if content_length.isdecimal() else self.largest
        return self.idle + size / self.min_rate


@dataclass(frozen=True, slots=True)
class Settings:
    first_event_hold: float
    """Seconds."""
    ping_interval: float
    """Seconds."""
    claims: list[str]
    """Names of the claims that go on record."""
    merged_models: bool = False
    """Lists of models have the members of both dialects."""
    names_provider: bool = False
    """Answers say in a header who gave them."""
    body_time: BodyTime = BodyTime(30.0, 8192.0, 32 * 1024 * 1024)
    prices: Prices = field(default_factory=Prices)
