"""Two providers of one model: a Claude that dies in the midst of a client's session and comes back, and a Chat model
that answers meanwhile. The client's own commands say when."""

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from extproc.demo import claude_model
from extproc.transport.control import ControlRequest, ask
from tests.e2e.providers import ANTHROPIC_KEY
from tests.e2e.stack import GATEWAY, SECONDS, Model, Stack, free_port, up

CONFIG = (
    GATEWAY.partition("models:")[0]
    + """
  anthropic:
    dialects: [messages]
    base_url: "${CLAUDE_URL}"
    api_key: {env: CLAUDE_KEY}
    outliers: {failures: 2, pause: 1}
models:
  - name: "claude-*"
    providers:
      - {provider: anthropic, model: claude-opus-5}
      - {provider: openai, model: deepseek-reasoner, profile: deepseek}
"""
)


class MortalClaude:
    """A Claude that stops, and starts again at the same address."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.model = Model(self.url, folder / "claude-requests.jsonl")
        self._life = contextlib.ExitStack()

    def start(self) -> None:
        self._life.enter_context(claude_model.running(key=ANTHROPIC_KEY, record=self.model.log, port=self.port))

    def stop(self) -> None:
        self._life.close()


class Tools:
    """Commands of the session that make the test act, and wait until it has acted."""

    def __init__(self, folder: Path) -> None:
        self._ask, self._answer = folder / "ask", folder / "answer"
        os.mkfifo(self._ask)
        os.mkfifo(self._answer)

    def command(self, word: str) -> str:
        return f"echo {word} > {self._ask} && cat {self._answer}"

    @contextlib.contextmanager
    def acting(self, **actions: Callable[[], None]) -> Iterator[None]:
        """Each action is carried out once, in this order."""

        def serve() -> None:
            for word, action in actions.items():
                assert self._ask.read_text().strip() == word
                action()
                self._answer.write_text(f"{word} done\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        thread.join(SECONDS)
        assert not thread.is_alive(), "the session has not come to all of its commands"


@contextlib.contextmanager
def two_providers(folder: Path, model: Model, mortal: MortalClaude) -> Iterator[Stack]:
    """The gateway before both."""
    environ = {"MODEL_URL": model.url, "CLAUDE_URL": mortal.url, "CLAUDE_KEY": ANTHROPIC_KEY}
    with up(folder, environ=environ | {"TMPDIR": tempfile.gettempdir()}, config=CONFIG) as running:
        yield running


def comes_back(mortal: MortalClaude, stack: Stack) -> None:
    """It starts, and the pause that its failures have cost ends."""
    mortal.start()
    deadline = time.monotonic() + SECONDS
    while ask(stack.folder / "gateway.yaml", ControlRequest("list")).providers["anthropic"].state != "available":
        assert time.monotonic() < deadline
        time.sleep(0.02)
