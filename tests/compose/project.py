"""`docker compose` on compose.yaml, and the gateway that it brings up."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from tests.compose import images
from tests.compose.engine import ROOT, Engine
from tests.e2e.stack import SECONDS, free_port, prompt

Json = dict[str, Any]
SERVICES = ("envoy", "processor", "model")


@dataclass(frozen=True)
class Project:
    engine: Engine
    name: str
    url: str
    environ: Mapping[str, str]
    profile: str = "demo"

    def compose(self, *arguments: str) -> str:
        argv = [*self.engine.compose, "--file", str(ROOT / "compose.yaml"), "--project-name", self.name]
        return self.engine.run([*argv, "--profile", self.profile, *arguments], self.environ)

    def inspect(self, service: str) -> Json:
        [found] = json.loads(self.engine.docker("inspect", self.container(service)))
        assert isinstance(found, dict)
        return found

    def container(self, service: str) -> str:
        [found] = self.engine.docker("ps", "--all", "--quiet", *self._labels(service)).split()
        return found

    def _labels(self, service: str) -> list[str]:
        labels = {"project": self.name, "service": service}
        return [f"--filter=label=com.docker.compose.{key}={value}" for key, value in labels.items()]

    def execute(self, service: str, *command: str) -> str:
        return self.engine.docker("exec", self.container(service), *command)

    def token(self, *arguments: str) -> str:
        return self.execute("processor", "extproc", "token", "--keys", "/run/lab", *arguments).strip()

    @cached_property
    def good_token(self) -> str:
        return self.token()

    def call(self, model: str = "demo", token: str | None = None) -> httpx.Response:
        """`token`: None for a good one, empty for none."""
        headers = {"authorization": f"Bearer {token or self.good_token}"} if token != "" else {}
        body = prompt("demo: say bonjour", model=model)
        return httpx.post(f"{self.url}/v1/messages", json=body, headers=headers, timeout=SECONDS, verify=False)

    def becomes(self, status: int) -> None:
        wait_for(lambda: self.status() == status)

    def status(self) -> int | None:
        try:
            return self.call().status_code
        except httpx.TransportError:
            return None


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"


@contextlib.contextmanager
def project(engine: Engine, name: str, key: Path, profile: str = "demo", **environ: str) -> Iterator[Project]:
    """Up with its demo model; nothing of it stays. `key`: the provider's, as a file."""
    port = free_port()
    settings = {
        "PROCESSOR_IMAGE": images.PROCESSOR,
        "GATEWAY_IMAGE": images.GATEWAY,
        "BUDGETS_IMAGE": images.BUDGETS,
        "REDIS_IMAGE": images.REDIS,
        "POSTGRES_IMAGE": images.POSTGRES,
        "LISTEN": f"127.0.0.1:{port}",
        "OPENAI_API_KEY_FILE": str(key),
        "OPENAI_UPSTREAM_URL": "http://model:9001/v1",  # nothing here leaves the machine
        **environ,
    }
    made = Project(engine, name, f"http://127.0.0.1:{port}", settings, profile)
    try:
        made.compose("up", "--detach", "--no-build")
        yield made
    finally:
        made.compose("down", "--volumes", "--timeout", "1")
