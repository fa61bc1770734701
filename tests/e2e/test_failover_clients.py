"""The real Claude Code and the real Codex go on when a provider dies in the midst of a session, and when it is back."""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.claude_code import NEWEST, install
from tests.e2e.claude_runs import Claude, Run, call, script
from tests.e2e.codex import Codex, lab_token
from tests.e2e.dying_provider import MortalClaude, Tools, comes_back, two_providers
from tests.e2e.providers import ANTHROPIC_KEY
from tests.e2e.stack import Json, Model, Stack

TURNS, DIES_IN, RETURNS_IN = 10, 3, 7
ANSWERS = ["anthropic"] * DIES_IN + ["openai"] * (RETURNS_IN - DIES_IN) + ["anthropic"] * (TURNS - RETURNS_IN)


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MortalClaude]:
    made = MortalClaude(tmp_path_factory.mktemp("mortal"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, model: Model, mortal: MortalClaude) -> Iterator[Stack]:
    with two_providers(tmp_path_factory.mktemp("two-providers"), model, mortal) as running:
        yield running


class OnTwo(Claude):
    def check(self, request: Json) -> None:
        """What the second provider received bears its own key alone."""
        assert ANTHROPIC_KEY not in str(request) and self.stack.good_token not in str(request)


def session(claude: Claude, mortal: MortalClaude, folder: Path, **environ: str) -> Run:
    """Ten turns, each with a thought and a tool."""
    tools = Tools(folder)
    acts = {DIES_IN: tools.command("dies"), RETURNS_IN: tools.command("returns")}
    commands = [acts.get(n, f"echo result {n}") for n in range(1, TURNS)]
    steps = [f"demo: think Thought {n}.\n{call('Bash', command=one)}" for n, one in enumerate(commands, 1)]
    with tools.acting(dies=mortal.stop, returns=partial(comes_back, mortal, claude.stack)):
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


def test_a_session_of_codex_goes_on_and_back(stack: Stack, model: Model, mortal: MortalClaude, tmp_path: Path) -> None:
    codex, before, tools = Codex(stack, model, tmp_path), mortal.model.asked(), Tools(tmp_path)
    codex.configure(*lab_token(stack))
    commands = [tools.command("dies"), "echo result 2", tools.command("returns"), "echo result 4"]
    steps = [f"demo: think Thought {n}.\n{call('exec_command', cmd=one)}" for n, one in enumerate(commands, 1)]
    with tools.acting(dies=mortal.stop, returns=partial(comes_back, mortal, stack)):
        run = codex.exec("-c", 'model_reasoning_effort="high"', script(*steps, "demo: say all done"))
    assert (run.status, run.says()) == (0, ["all done"]), run.err
    assert [one["exit_code"] for one in run.items("command_execution")] == [0] * 4
    answered = [line["gen_ai.provider.name"] for line in run.records]
    assert answered == ["anthropic", "openai", "openai", "anthropic", "anthropic"]
    assert {line["http.status"] for line in run.records} == {200}
    # Each provider gets its own thoughts back, and the record names those that were signed for the other.
    assert [thoughts(body) for body in run.bodies] == [[], thought(2)]
    lost = ["dropped:input." in (line.get("warnings") or "") for line in run.records]
    assert lost == [False, True, True, False, False]
    *_, last = bodies_of(mortal.model.since(before))
    assert thoughts(last) == thought(1, 4)
