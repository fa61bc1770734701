"""The real Claude Code while its provider dies in the midst of a session and comes back: the session goes on."""

import contextlib
import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from extproc.demo import claude_model
from extproc.supervisor.control import ControlRequest, ask
from tests.e2e.claude_code import NEWEST, install
from tests.e2e.claude_runs import Claude, Run, call, script
from tests.e2e.providers import ANTHROPIC_KEY
from tests.e2e.stack import GATEWAY, SECONDS, Json, Model, Stack, free_port, up

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
TURNS, DIES_IN, RETURNS_IN = 10, 3, 7
ANSWERS = ["anthropic"] * DIES_IN + ["openai"] * (RETURNS_IN - DIES_IN) + ["anthropic"] * (TURNS - RETURNS_IN)


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


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MortalClaude]:
    made = MortalClaude(tmp_path_factory.mktemp("mortal"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, model: Model, mortal: MortalClaude) -> Iterator[Stack]:
    environ = {"MODEL_URL": model.url, "CLAUDE_URL": mortal.url, "CLAUDE_KEY": ANTHROPIC_KEY}
    environ["TMPDIR"] = tempfile.gettempdir()
    with up(tmp_path_factory.mktemp("two-providers"), environ=environ, config=CONFIG) as running:
        yield running


class OnTwo(Claude):
    def check(self, request: Json) -> None:
        """What the second provider received bears its own key alone."""
        assert ANTHROPIC_KEY not in str(request) and self.stack.good_token not in str(request)


def until_available(stack: Stack) -> None:
    deadline = time.monotonic() + SECONDS
    while ask(stack.folder / "gateway.yaml", ControlRequest("list")).providers["anthropic"].state != "available":
        assert time.monotonic() < deadline


def session(claude: Claude, mortal: MortalClaude, folder: Path, **environ: str) -> Run:
    """Ten turns, each with a thought and a tool."""
    tools = Tools(folder)

    def returns() -> None:
        mortal.start()
        until_available(claude.stack)

    acts = {DIES_IN: tools.command("dies"), RETURNS_IN: tools.command("returns")}
    commands = [acts.get(n, f"echo result {n}") for n in range(1, TURNS)]
    steps = [f"demo: think Thought {n}.\n{call('Bash', command=one)}" for n, one in enumerate(commands, 1)]
    with tools.acting(dies=mortal.stop, returns=returns):
        return claude.ask(script(*steps, f"demo: think Thought {TURNS}.\ndemo: say all done"), environ=environ)


def bodies_of(requests: list[Json]) -> list[Json]:
    return [json.loads(request["body"]) for request in requests if request["body"]]


def thoughts(body: Json) -> list[str]:
    """The model's own that a request has, at either provider."""
    turns = [message for message in body["messages"] if message["role"] == "assistant"]
    blocks = [block for turn in turns if isinstance(turn["content"], list) for block in turn["content"]]
    kept = [turn["reasoning_content"] for turn in turns if turn.get("reasoning_content")]
    return kept + [block["thinking"] for block in blocks if block["type"] == "thinking"]


def thought(*turns: int) -> list[str]:
    return [f"Thought {n}." for n in turns]


def left_out(line: Json) -> int:
    """How many thoughts of the other provider's the record names."""
    return len(re.findall(r"dropped:messages\.\d+\.content\.\d+", line["warnings"] or ""))


@pytest.mark.parametrize(
    ("asked", "after"),
    [
        ("claude-opus-5", [8, 9]),
        # With a budget Claude insists on a thought before each call, so in a turn that began elsewhere it cannot think.
        ("claude-sonnet-4-5", []),
    ],
)
def test_a_session_goes_on_with_the_next_provider_and_back(
    stack: Stack, model: Model, mortal: MortalClaude, tmp_path: Path, asked: str, after: list[int]
) -> None:
    claude, before = OnTwo(NEWEST, install()[NEWEST], stack, model, tmp_path), mortal.model.asked()
    run = session(claude, mortal, tmp_path, ANTHROPIC_MODEL=asked, MAX_THINKING_TOKENS="2000")
    assert (run.status, run.result["result"], run.calls()) == (0, "all done", ["Bash"] * (TURNS - 1))
    assert not [event for event in run.events if event.get("subtype") == "api_retry"]
    lines = [line for line in run.records if line["http.path"] == "/v1/messages"]
    assert [(line["gen_ai.provider.name"], line["http.status"]) for line in lines] == [(one, 200) for one in ANSWERS]
    assert lines[DIES_IN]["attempts"].startswith("anthropic unreachable; openai 200")
    # Each provider gets its own thoughts back, and the record names those that it cannot use.
    lost = [0] * DIES_IN + [DIES_IN] * (RETURNS_IN - DIES_IN) + [RETURNS_IN - DIES_IN] * (TURNS - RETURNS_IN)
    assert [left_out(line) for line in lines] == lost
    assert [thoughts(body) for body in run.bodies] == [thought(*range(DIES_IN + 1, n)) for n in (4, 5, 6, 7)]
    *_, last = bodies_of(mortal.model.since(before))
    assert thoughts(last) == thought(1, 2, 3, *after)
    assert ("thinking" in last) == bool(after)
