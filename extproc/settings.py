"""What an exchange needs of the configuration."""

from dataclasses import dataclass


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
