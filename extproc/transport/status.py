"""How the configuration is doing, for whoever asks: a person, a probe, Prometheus."""

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from extproc.version import version


@dataclass
class Status:
    """Names, places and numbers only; nothing in it is secret."""

    generation: int = 1
    """Counts what has been taken since the start."""
    since: float = field(default_factory=time.time)
    """Unix seconds at which that was taken."""
    refused: list[str] = field(default_factory=list)
    """Why the newest files have not been taken: file, line, key. Empty: they are in force."""
    at_next_start: list[str] = field(default_factory=list)
    """Keys whose new values wait for a restart."""
    deleted_key_files: dict[str, float] = field(default_factory=dict)
    """Files of keys that are gone, and the Unix second from which their keys no longer count."""
    reloads: dict[str, int] = field(default_factory=lambda: {"taken": 0, "refused": 0})

    def taken(self, generation: int, at_next_start: list[str]) -> None:
        self.generation, self.since = generation, time.time()
        self.refused, self.at_next_start = [], at_next_start
        self.reloads["taken"] += 1

    def not_taken(self, why: list[str]) -> None:
        self.refused = why
        self.reloads["refused"] += 1

    def told(self) -> dict[str, Any]:
        state = "refused" if self.refused else "in force"
        return {"version": version(), "configuration": state, **asdict(self)}
