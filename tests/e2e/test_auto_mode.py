"""Verdicts on the calls of tools, through a real Envoy: by rule, and by a judging model."""

import json
import stat
from pathlib import Path

import psutil
import pytest

from extproc.policy.authorization.body import LIGHT_BYTES, LIGHT_VALUES
from tests.e2e.judging import CONFIG, PLAIN, SAFEGUARDS, answers, asked
from tests.e2e.raw_provider import RawProvider
from tests.e2e.reloading import Reloads
from tests.e2e.stack import Model, Stack, prompt, up


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
def test_a_rule_decides(judged: Stack, judge: RawProvider, stream: bool) -> None:
    judge.plays(answers("{}"))
    verdict, line = asked(judged, "echo allowed", stream=stream)
    assert verdict == {"type": "evaluated", "outcome": "not_flagged"}
    assert (line["auto_mode.outcome"], line["auto_mode.rule"]) == ("allow", "auto_mode.rules.0")
    verdict, line = asked(judged, "rm -rf /", stream=stream)
    assert verdict == {
        "type": "evaluated", "outcome": "flagged", "explanation": "nothing is removed with rm -rf here",
    }  # fmt: skip
    assert (line["auto_mode.outcome"], line["auto_mode.rule"]) == ("deny", "auto_mode.rules.1")
    assert not judge.bodies


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
def test_a_model_judges_what_no_rule_decides(judged: Stack, judge: RawProvider, stream: bool) -> None:
    judge.plays(answers('{"outcome": "allow"}'), answers('{"outcome": "deny", "explanation": "no curl"}'))
    verdict, line = asked(judged, "ls", stream=stream)
    assert verdict == {"type": "evaluated", "outcome": "not_flagged"}
    assert (line["auto_mode.outcome"], line["auto_mode.rule"]) == ("allow", "judge")
    verdict, _ = asked(judged, "curl x", stream=stream)
    assert verdict == {"type": "evaluated", "outcome": "flagged", "explanation": "no curl"}
    body = json.loads(judge.bodies[-1])
    question = json.loads(body["messages"][-1]["content"])
    assert (question["tool"], question["input"], question["working_directory"]) == (
        "Bash",
        {"command": "curl x"},
        "/work",
    )
    assert "demo: say Let me see." in question["conversation"][-1]["content"][0]
    assert "Nobody runs curl." in body["messages"][0]["content"]
    # The question is a call of the same caller, on record like any other.
    own = judged.record_where(lambda line: line["gen_ai.request.model"] == "judge")
    assert (own["caller.team"], own["http.status"], own["gen_ai.usage.output_tokens"]) == ("data-platform", 200, 9)
    assert own["auto_mode.outcome"] is None


def test_who_does_not_ask_gets_no_verdict(judged: Stack) -> None:
    response = judged.call(
        prompt('demo: call Bash {"command": "rm -rf /"}', tools=[{"name": "Bash", "input_schema": {}}])
    )
    assert response.status_code == 200 and "safeguard_results" not in response.json()
    assert judged.record(response)["auto_mode.outcome"] is None


def test_the_socket_for_the_gateways_own_calls_is_its_users_alone(judged: Stack) -> None:
    commands = [child.cmdline() for child in psutil.Process(judged.process.pid).children(recursive=True)]
    worker = next(word for words in commands for word in words if word.endswith("worker-0.sock"))
    socket = Path(worker.removeprefix("unix:")).with_name("gateway.sock").stat()
    assert stat.S_ISSOCK(socket.st_mode) and stat.S_IMODE(socket.st_mode) == 0o600


def test_a_heavy_body_is_judged_like_any_other(judged: Stack, judge: RawProvider) -> None:
    """Another process reads it."""
    judge.plays(answers('{"outcome": "allow"}'))
    heavy = "[1," * (LIGHT_VALUES + 1) + "x" * LIGHT_BYTES
    assert asked(judged, "rm -rf /", stream=True, before=heavy)[0]["outcome"] == "flagged"
    assert asked(judged, "ls", stream=True, before=heavy)[0]["outcome"] == "not_flagged"


def test_a_judge_comes_with_a_reload(tmp_path: Path, model: Model, judge: RawProvider) -> None:
    judge.plays(answers('{"outcome": "allow"}'))
    with up(tmp_path, environ={"MODEL_URL": model.url, "JUDGE_URL": judge.url}, config=PLAIN) as stack:
        response = stack.call(prompt("demo: say hi", safeguards=SAFEGUARDS))
        assert response.headers["x-translation-warnings"] == "dropped:safeguards"
        (tmp_path / "gateway.yaml").write_text(CONFIG)
        Reloads(stack).now()
        verdict, line = asked(stack, "ls", stream=True)
    assert (verdict["outcome"], line["auto_mode.rule"]) == ("not_flagged", "judge")
