"""Verdicts on the calls of tools, through a real Envoy: by rule, by a judging model, and by nobody."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.raw_provider import RawProvider, resets, whole
from tests.e2e.stack import GATEWAY, Json, Model, Stack, prompt, up

AUTO_MODE = """
auto_mode:
  rules:
    - {when: 'tool.name == "Bash" && tool.input.command.startsWith("echo allowed")', outcome: allow}
    - when: 'tool.name == "Bash" && tool.input.command.contains("rm -rf")'
      outcome: deny
      explanation: nothing is removed with rm -rf here
  judge: {model: judge, timeout: 2, instructions: Nobody runs curl.}
"""
CONFIG = GATEWAY.replace("models:\n", "models:\n  - {name: judge, provider: judging}\n").replace(
    "providers:\n", 'providers:\n  judging: {dialects: [chat], base_url: "${JUDGE_URL}"}\n'
)
SAFEGUARDS = [{"type": "dangerous_tool_use", "classifier_context": {"v": 1, "live_cwd": "/work"}}]


@pytest.fixture(scope="module")
def judge() -> Iterator[RawProvider]:
    with RawProvider().serving() as running:
        yield running


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, model: Model, judge: RawProvider) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("auto-mode")
    with up(folder, environ={"MODEL_URL": model.url, "JUDGE_URL": judge.url}, config=CONFIG + AUTO_MODE) as running:
        yield running


def answers(verdict: str) -> bytes:
    message = {"role": "assistant", "content": verdict}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": 50, "completion_tokens": 9, "total_tokens": 59}
    return whole(json.dumps({"id": "j", "object": "chat.completion", "model": "judge", "choices": [choice],
                             "usage": usage}).encode())  # fmt: skip


def asked(stack: Stack, command: str, *, stream: bool) -> tuple[Json, Json]:
    """The verdict on a call of Bash, and the access log's line."""
    text = f"demo: say Let me see.\ndemo: call Bash {json.dumps({'command': command})}"
    tool = {"name": "Bash", "input_schema": {"type": "object"}}
    response = stack.call(prompt(text, safeguards=SAFEGUARDS, tools=[tool], stream=stream))
    assert response.status_code == 200 and "x-translation-warnings" not in response.headers
    if stream:
        events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]
        assert events[-1] == {"type": "message_stop"}
        [block] = [e["content_block"] for e in events if e.get("content_block", {}).get("type") == "tool_use"]
        holder = next(event["delta"] for event in events if event["type"] == "message_delta")
    else:
        holder = response.json()
        [block] = [block for block in holder["content"] if block["type"] == "tool_use"]
    assert holder["stop_reason"] == "tool_use"
    [result] = holder["safeguard_results"]
    assert (result["type"], result["status"]["type"]) == ("dangerous_tool_use", "available")
    assert list(result["status"]["tool_uses"]) == [block["id"]]
    return result["status"]["tool_uses"][block["id"]], stack.record(response)


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


@pytest.mark.parametrize(
    ("play", "reason"),
    [
        (resets(), "error"),
        (whole(b"{}", status="500 Internal Server Error"), "error"),
        (answers("certainly!"), "error"),
        (lambda connection: connection.until_left(), "timeout"),
    ],
    ids=["reset", "500", "unreadable", "silent"],
)
def test_without_a_judgement_nothing_is_allowed(judged: Stack, judge: RawProvider, play: object, reason: str) -> None:
    judge.plays(play)  # type: ignore[arg-type]
    verdict, line = asked(judged, "ls", stream=True)
    assert verdict == {"type": "unavailable", "reason": reason}
    assert (line["auto_mode.outcome"], line["auto_mode.rule"]) == ("unavailable", "judge")
    assert (line["reason"], line["http.status"]) == (None, 200)


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
