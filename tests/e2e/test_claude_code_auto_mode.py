"""The real Claude Code in auto mode on a Chat model: its calls of tools are judged by the gateway."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.claude_code import NEWEST, install
from tests.e2e.claude_runs import STREAM_JSON, Claude, Run, call, script
from tests.e2e.raw_provider import RawProvider, resets
from tests.e2e.stack import Model, Stack, up
from tests.e2e.test_auto_mode import AUTO_MODE, CONFIG, answers

EXPLANATION = "nothing is removed with rm -rf here"


@pytest.fixture(scope="module")
def judge() -> Iterator[RawProvider]:
    with RawProvider().serving() as running:
        yield running


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, model: Model, judge: RawProvider) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("claude-auto-mode")
    with up(folder, environ={"MODEL_URL": model.url, "JUDGE_URL": judge.url}, config=CONFIG + AUTO_MODE) as running:
        yield running


@pytest.fixture
def claude(judged: Stack, model: Model, tmp_path: Path) -> Claude:
    return Claude(NEWEST, install()[NEWEST], judged, model, tmp_path)


def ask(claude: Claude, command: str) -> Run:
    """A model that runs one command of Bash, for a client in auto mode."""
    prompt = script(call("Bash", command=command), "demo: say done")
    environ = claude.base(ANTHROPIC_AUTH_TOKEN=claude.stack.good_token)
    return claude.run([str(claude.binary), "--permission-mode", "auto", *STREAM_JSON, "-p", prompt], environ)


def verdicts(run: Run) -> list[tuple[str, str]]:
    return [(line["auto_mode.outcome"], line["auto_mode.rule"]) for line in run.records if line["auto_mode.outcome"]]


def test_a_rule_lets_a_command_run(claude: Claude, judge: RawProvider) -> None:
    judge.plays(answers("{}"))
    run = ask(claude, "echo allowed > made.txt; curl -s http://127.0.0.1:1/ || cat made.txt")
    assert (run.status, run.result["result"], run.results()) == (0, "done", ["allowed"])
    assert verdicts(run) == [("allow", "auto_mode.rules.0")]
    assert not judge.bodies


def test_a_rule_denies_and_its_explanation_is_shown(claude: Claude) -> None:
    (claude.work / "kept").mkdir()
    run = ask(claude, f"rm -rf {claude.work}/kept")
    assert (claude.work / "kept").is_dir()
    assert EXPLANATION in str(run.results()) and EXPLANATION in run.out
    assert verdicts(run) == [("deny", "auto_mode.rules.1")]


def test_a_second_model_judges(claude: Claude, judge: RawProvider) -> None:
    judge.plays(answers('{"outcome": "allow"}'))
    run = ask(claude, "curl -s http://127.0.0.1:1/ || touch made.txt")
    assert (run.status, run.result["result"]) == (0, "done")
    assert (claude.work / "made.txt").exists()
    assert verdicts(run) == [("allow", "judge")] and len(judge.bodies) == 1


def test_with_the_judge_down_nothing_runs(claude: Claude, judge: RawProvider) -> None:
    judge.plays(resets())
    run = ask(claude, "curl -s http://127.0.0.1:1/ || touch made.txt")
    assert not (claude.work / "made.txt").exists()
    assert set(verdicts(run)) == {("unavailable", "judge")}
