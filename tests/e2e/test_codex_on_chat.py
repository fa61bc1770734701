"""The real Codex through a real Envoy on a model that speaks Chat Completions: shell, patches, sessions that go on."""

from pathlib import Path

import pytest

from tests.e2e.claude_runs import call, script
from tests.e2e.codex import Codex, lab_token
from tests.e2e.stack import Json, Model, Stack

SHELL = call("exec_command", cmd="echo $((6*7)) > answer.txt; cat answer.txt")
PATCH = "*** Begin Patch\n*** Add File: hello.txt\n+hello\n*** End Patch\n"


@pytest.fixture
def codex(stack: Stack, model: Model, tmp_path: Path) -> Codex:
    found = Codex(stack, model, tmp_path)
    found.configure(*lab_token(stack))
    return found


def results(body: Json) -> list[str]:
    return [str(message["content"]) for message in body["messages"] if message["role"] == "tool"]


def test_a_command_runs_and_its_result_goes_back(codex: Codex) -> None:
    run = codex.exec(script(f"demo: say Let me see.\n{SHELL}", "demo: say done"))
    assert (run.status, run.says()) == (0, ["Let me see.", "done"]), run.err
    [command] = run.items("command_execution")
    assert (command["aggregated_output"], command["exit_code"]) == ("42\n", 0)
    assert "42" in results(run.bodies[1])[0]
    assert [line["gen_ai.response.finish_reasons"] for line in run.records] == ["completed", "completed"]


def test_a_patch_is_applied(codex: Codex) -> None:
    """Codex declares a custom tool with a grammar for this model; here it is a function with one member."""
    run = codex.exec("-m", "gpt-5.5", script(call("apply_patch", input=PATCH), "demo: say done"))
    assert (run.status, run.says()) == (0, ["done"]), run.err
    assert (codex.work / "hello.txt").read_text() == "hello\n"
    [patching] = [tool["function"] for tool in run.bodies[0]["tools"] if tool["function"]["name"] == "apply_patch"]
    assert list(patching["parameters"]["properties"]) == ["input"] and "lark" in patching["description"]
    assert "A hello.txt" in results(run.bodies[1])[0]


def test_a_session_goes_on(codex: Codex) -> None:
    assert codex.exec(script(SHELL, "demo: say first")).status == 0
    run = codex.exec("resume", "--last", "demo: say second")
    assert (run.status, run.says()) == (0, ["second"]), run.err
    [body] = run.bodies
    assert [message["role"] for message in body["messages"]].count("tool") == 1
    assert "first" in str(body["messages"]) and "42" in results(body)[0]


def test_a_model_that_takes_no_tools_on_chat_is_refused_with_the_remedy(codex: Codex) -> None:
    run = codex.exec("-m", "gpt-6-astra", "demo: say never")
    assert run.status == 1 and run.bodies == []
    assert any("dialects: [responses]" in str(event) for event in run.events), run.events
