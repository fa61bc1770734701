"""The state of the configuration and of the providers, for people, probes and Prometheus."""

import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

from extproc.providers.availability import CoolDowns
from extproc.version import version


@dataclass
class Status:
    """Holds names, places and numbers only, so nothing in it is secret."""

    generation: int = 1
    """Number of configurations that have been in force since the start."""
    since: float = field(default_factory=time.time)
    """Unix seconds since when the present one is in force."""
    refused: list[str] = field(default_factory=list)
    """Why the newest files are not in force: file, line, key. Empty: they are."""
    at_next_start: list[str] = field(default_factory=list)
    """Keys whose new values wait for a restart."""
    deleted_key_files: dict[str, float] = field(default_factory=dict)
    """Files of keys that are gone, and the Unix second from which their keys no longer count."""
    reloads: dict[str, int] = field(default_factory=lambda: {"taken": 0, "refused": 0})

    cool_downs: CoolDowns = field(default_factory=CoolDowns)
    """Providers that are left out for a while."""

    def taken(self, generation: int, at_next_start: list[str]) -> None:
        self.generation, self.since = generation, time.time()
        self.refused, self.at_next_start = [], at_next_start
        self.reloads["taken"] += 1

    def not_taken(self, why: list[str]) -> None:
        self.refused = why
        self.reloads["refused"] += 1

    def as_dict(self) -> dict[str, Any]:
        state = "refused" if self.refused else "in force"
        own = {name: value for name, value in vars(self).items() if name != "cool_downs"}
        providers = msgspec.to_builtins(self.cool_downs.states(time.time()))
        return {"version": version(), "configuration": state, **own, "providers": providers}
