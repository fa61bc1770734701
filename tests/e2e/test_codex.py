"""The real Codex through a real Envoy on a Claude: the shell, sessions that go on, tokens that are renewed."""

import subprocess
from pathlib import Path

import pytest

from tests.e2e.claude_runs import call, script
from tests.e2e.codex import VERSION, Codex, binary, lab_token
from tests.e2e.providers import Providers
from tests.e2e.stack import Stack

SHELL = call("exec_command", cmd="echo $((6*7)) > answer.txt; cat answer.txt")


@pytest.fixture
def codex(one_claude: Stack, providers: Providers, tmp_path: Path) -> Codex:
    found = Codex(one_claude, providers.anthropic, tmp_path)
    found.configure(*lab_token(one_claude))
    return found


def test_the_pinned_version_runs() -> None:
    done = subprocess.run([binary(), "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split()[-1] == VERSION


def test_a_command_runs_and_its_result_goes_back(codex: Codex) -> None:
    run = codex.exec(script(f"demo: say Let me see.\n{SHELL}", "demo: say done"))
    assert (run.status, run.says()) == (0, ["Let me see.", "done"]), run.err
    [command] = run.items("command_execution")
    assert (command["aggregated_output"], command["exit_code"]) == ("42\n", 0)
    assert (codex.work / "answer.txt").read_text() == "42\n"
    [result] = [
        block for message in run.bodies[1]["messages"] for block in message["content"] if "tool_use_id" in block
    ]
    assert "42" in str(result["content"])
    assert {line["jwt.sub"] for line in run.records} == {"developer@acme.example"}
    assert [line["gen_ai.response.finish_reasons"] for line in run.records] == ["completed", "completed"]


def test_a_command_that_fails_is_told_to_the_model(codex: Codex) -> None:
    run = codex.exec(script(call("exec_command", cmd="echo no >&2; exit 3"), "demo: say seen"))
    assert (run.status, run.says()) == (0, ["seen"]), run.err
    [command] = run.items("command_execution")
    assert command["exit_code"] == 3 and "no" in command["aggregated_output"]


def test_a_session_goes_on(codex: Codex) -> None:
    assert codex.exec(script(SHELL, "demo: say first")).status == 0
    run = codex.exec("resume", "--last", "demo: say second")
    assert (run.status, run.says()) == (0, ["second"]), run.err
    [body] = run.bodies
    assert [message["role"] for message in body["messages"]][:4] == ["user", "assistant", "user", "assistant"]
    assert "first" in str(body["messages"]) and "42" in str(body["messages"])


def test_thinking_goes_back_on_the_next_turn(codex: Codex) -> None:
    """The model refuses a thought whose signature does not fit."""
    run = codex.exec(
        "-c", 'model_reasoning_effort="high"', script(f"demo: think First I count.\n{SHELL}", "demo: say one")
    )
    assert (run.status, run.says()) == (0, ["one"]), run.err
    thoughts = [
        block for message in run.bodies[1]["messages"] for block in message["content"] if block["type"] == "thinking"
    ]
    assert len(thoughts) == 1 and thoughts[0]["signature"]


def test_an_expired_token_is_renewed(codex: Codex) -> None:
    """The command is asked again when the gateway refuses what it gave."""
    codex.folder.joinpath("old").write_text(codex.stack.token(ttl=-3600))
    codex.folder.joinpath("new").write_text(codex.stack.good_token)
    codex.configure("/bin/sh", ["-c", f"cd {codex.folder} && {{ cat old 2>/dev/null && rm old || cat new; }}"])
    run = codex.exec("demo: say welcome")
    assert (run.status, run.says()) == (0, ["welcome"]), run.err
    assert not codex.folder.joinpath("old").exists()
    assert len(run.bodies) == 1


def test_another_team_is_refused_and_no_model_asked(codex: Codex) -> None:
    command, arguments = lab_token(codex.stack)
    codex.configure(command, [*arguments, "--team", "marketing"])
    run = codex.exec("demo: say never")
    assert run.status == 1 and run.bodies == []
    assert {(line["http.status"], line.get("reason")) for line in run.records} == {(403, "Authorization")}
