"""The real Claude Code in auto mode on a Chat model: its calls of tools are judged by the gateway."""

import json
import sys
from pathlib import Path

import pytest

from tests.e2e.claude_code import NEWEST, install
from tests.e2e.claude_runs import QUIET, STREAM_JSON, Claude, Run, call, made, script
from tests.e2e.judging import answers
from tests.e2e.raw_provider import RawProvider, resets
from tests.e2e.stack import Model, Stack
from tests.e2e.terminal import terminal

EXPLANATION = "nothing is removed with rm -rf here"


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


def test_in_a_terminal_the_explanation_is_on_the_screen(claude: Claude) -> None:
    """Started by `extproc claude`, which leaves the variable to whoever sets it."""
    (claude.work / "kept").mkdir()
    trusted = {str(claude.work): {"hasTrustDialogAccepted": True}}
    known = {"hasCompletedOnboarding": True, "theme": "dark", "projects": trusted}
    (claude.home / ".claude.json").write_text(json.dumps(known))
    environ = {"PATH": claude.path(), "HOME": str(claude.home), "TMPDIR": str(made(claude.folder / "tmp"))}
    environ |= {**dict.fromkeys(QUIET, "1"), "CLAUDE_CODE_AUTO_MODE_SERVER": "1"}
    ours = ["--url", claude.stack.url, "--keys", str(claude.stack.folder / "keys")]
    with terminal([sys.executable, "-m", "extproc", "claude", *ours], environ, claude.work) as session:
        session.shows("auto mode on")
        session.say(call("Bash", command="rm -rf kept"))
        session.shows(EXPLANATION)
        session.shows("● Tool result:")
        assert "Auto mode can't check actions" not in session.screen
    assert (claude.work / "kept").is_dir()
