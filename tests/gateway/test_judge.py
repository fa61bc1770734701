"""What a judging model is shown, and what counts as its verdict."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from extproc.config.schema_auto_mode import Judge as Settings
from extproc.events import Headers, Verdict, VerdictOutcome
from extproc.gateway import judge
from extproc.gateway.judge import Judge, read_verdict
from extproc.policy.facts import Request
from extproc.wire.safeguards import Question, ToolCall

CALL = ToolCall("a", "Bash", {"command": "ls"})
QUESTION = Question("/work", ())


def answer(text: str, **more: Any) -> bytes:
    blocks = [{"type": "thinking", "thinking": '{"outcome": "deny"}'}, {"type": "text", "text": text}]
    return json.dumps({"type": "message", "content": blocks, **more}).encode()


@pytest.mark.parametrize(
    "text",
    ['{"outcome": "allow"}', ' {"outcome":"allow","explanation":"fine"}\n', '```json\n{"outcome": "allow"}\n```'],
)
def test_one_clear_object_is_a_verdict(text: str) -> None:
    assert read_verdict(answer(text)) == Verdict(VerdictOutcome.ALLOW, "", "judge")


def test_a_denial_says_why() -> None:
    assert read_verdict(answer('{"outcome": "deny", "explanation": "no"}')) == Verdict(
        VerdictOutcome.DENY, "no", "judge"
    )
    without = read_verdict(answer('{"outcome": "deny"}'))
    assert without.outcome is VerdictOutcome.DENY and "denied" in without.text
    assert len(read_verdict(answer(json.dumps({"outcome": "deny", "explanation": "x" * 9000}))).text) == 500


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (answer(""), "error"),
        (answer("allow"), "error"),
        (answer('I would say {"outcome": "allow"}'), "error"),
        (answer('{"outcome": "allow"} {"outcome": "deny"}'), "error"),
        (answer('{"outcome": "allow", "outcome": "deny"}'), "error"),
        (answer('{"outcome": true}'), "error"),
        (answer('{"outcome": "not_flagged"}'), "error"),
        (answer('{"outcome": "allow"}', stop_reason="refusal"), "refused"),
        (b'{"content": []}', "error"),
        (b'{"content": [1]}', "error"),
        (b'{"content": [{"type": "text"}]}', "error"),
        (b"[]", "error"),
        (b"<html>", "error"),
        (b"", "error"),
    ],
)
def test_everything_else_is_none(body: bytes, reason: str) -> None:
    assert read_verdict(body) == Verdict(VerdictOutcome.UNAVAILABLE, reason, "judge")


def asked(*calls: ToolCall, socket: str = "") -> dict[str, Verdict]:
    request = Request(started=0.0, headers=Headers([(":authority", "llm.example")]), path="/v1/messages")
    return asyncio.run(Judge(Settings(model="m", timeout=5), socket)(request, QUESTION, calls))


def test_without_a_gateway_to_ask_there_is_no_verdict(tmp_path: Path) -> None:
    assert asked(CALL, socket=str(tmp_path / "none.sock")) == {
        "a": Verdict(VerdictOutcome.UNAVAILABLE, "error", "judge")
    }


@pytest.mark.parametrize(
    ("given", "reason"), [(None, "input_unparsed"), ({"command": "x" * judge.MAX_INPUT}, "input_too_long")]
)
def test_what_the_judge_cannot_see_in_whole_it_does_not_judge(given: Any, reason: str) -> None:
    assert asked(ToolCall("a", "Bash", given)) == {"a": Verdict(VerdictOutcome.UNAVAILABLE, reason, "judge")}


def test_calls_beyond_a_bound_are_not_judged(tmp_path: Path) -> None:
    many = [ToolCall(str(n), "Bash", {}) for n in range(judge.CALLS + 5)]
    assert len(asked(*many, socket=str(tmp_path / "none.sock"))) == judge.CALLS


def test_a_call_beyond_the_bound_does_not_go_by_the_verdict_on_another_of_its_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def allows(*_: object) -> Verdict:
        return Verdict(VerdictOutcome.ALLOW, "", "judge")

    monkeypatch.setattr(judge, "_ask", allows)
    found = asked(*(ToolCall(str(n), "Bash", {}) for n in range(judge.CALLS)), ToolCall("3", "Bash", {"command": "rm"}))
    assert [name for name, verdict in found.items() if verdict.outcome is not VerdictOutcome.ALLOW] == ["3"]


def test_what_it_is_shown() -> None:
    turns: list[Any] = [
        {"role": "user", "content": "please " + "x" * 5000 + " end"},
        {"role": "assistant", "content": [{"type": "tool_use", "name": "Read", "input": {"file_path": "a"}}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "content": [{"type": "text", "text": "it"}, {"type": "image"}]}],
        },
        ["no message"],
    ]
    raw = (b"", b"{", *(json.dumps(turn).encode() for turn in turns))
    shown = json.loads(judge.shown(Question("/work", raw), CALL))
    first, second, third = shown.pop("conversation")
    assert shown == {"tool": "Bash", "input": {"command": "ls"}, "working_directory": "/work"}
    assert first["content"][0].startswith("please x") and first["content"][0].endswith("x end")
    assert len(first["content"][0]) < judge.MAX_TEXT + 10
    assert second == {"role": "assistant", "content": ['[calls Read with {"file_path": "a"}]']}
    assert third == {"role": "user", "content": ["[result: it [image]]"]}
