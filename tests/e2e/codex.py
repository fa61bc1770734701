"""The real Codex, in the version that codex/package-lock.json pins, with a home of its own before the gateway."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.npm import newest, package
from tests.e2e.stack import Json, Model, Stack
from tests.manifests import ROOT

_PACKAGE = package("codex")
VERSION = newest(_PACKAGE.versions)
SECONDS = 60.0
CONFIG = """
model = "claude-sonnet-5"
model_provider = "gateway"

[model_providers.gateway]
name = "gateway"
base_url = "{url}/v1"
wire_api = "responses"

[model_providers.gateway.auth]
command = "{command}"
args = {arguments}
refresh_interval_ms = 1800000
"""


def binary() -> Path:
    """It is in a package of its own for each platform."""
    _PACKAGE.install()
    [found] = _PACKAGE.modules.glob("@openai/codex-*/vendor/*/bin/codex")
    return found


@dataclass(frozen=True)
class Run:
    status: int
    err: str
    events: list[Json]
    bodies: list[Json]
    """What the model received."""
    records: list[Json]
    """The access log's lines for its calls to a model."""

    def items(self, kind: str) -> list[Json]:
        items = [event["item"] for event in self.events if event["type"] == "item.completed"]
        return [item for item in items if item["type"] == kind]

    def says(self) -> list[str]:
        return [item["text"] for item in self.items("agent_message")]


@dataclass(frozen=True)
class Codex:
    stack: Stack
    model: Model
    folder: Path

    def configure(self, command: str, arguments: Sequence[str]) -> None:
        """`command`: what prints a token."""
        text = CONFIG.format(url=self.stack.url, command=command, arguments=json.dumps(list(arguments)))
        self.home.mkdir(exist_ok=True)
        (self.home / "config.toml").write_text(text)

    def exec(self, *words: str) -> Run:
        options = ["--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
        asked, printed = self.model.asked(), len(self.stack.out.seen)
        variables = {"PATH": os.environ["PATH"], "HOME": str(self.home), "CODEX_HOME": str(self.home)}
        self.work.mkdir(exist_ok=True)
        done = subprocess.run(
            [str(binary()), "exec", *options, *words],
            cwd=self.work, env={**variables, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        bodies = [json.loads(request["body"]) for request in self.model.since(asked) if request["body"]]
        return Run(done.returncode, done.stderr, events, bodies, self._records_since(printed))

    def _records_since(self, printed: int) -> list[Json]:
        """Lines come in order: those before a probe's are complete when the probe's is there."""
        probe = self.stack.record(self.stack.call(method="HEAD", path="/", token=None))
        lines = [json.loads(line) for line in self.stack.out.seen[printed:] if line.startswith("{")]
        until = [line["request_id"] for line in lines].index(probe["request_id"])
        return [line for line in lines[:until] if line.get("http.path") == "/v1/responses"]

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def work(self) -> Path:
        return self.folder / "work"


def lab_token(stack: Stack) -> tuple[str, list[str]]:
    """A command that mints one."""
    return sys.executable, ["-P", "-m", "extproc", "token", "--keys", str(stack.folder / "keys")]
