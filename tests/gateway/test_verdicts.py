"""An answer whose client asked for verdicts: only its end waits, and what is decided goes on record."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from extproc.events import Judged, Verdict, VerdictOutcome
from extproc.gateway import record
from extproc.gateway.gateway import Gateway
from extproc.wire.safeguards import ToolCall
from tests.issuing import token
from tests.playbook import (
    ABSENT,
    DEADLINE_REACHED,
    Json,
    Playbook,
    awaits,
    begins,
    forwards,
    request_body,
    request_headers,
    response_body,
    response_headers,
    says,
)
from tests.settings import GATEWAY, gateway

RULES = """
auto_mode:
  rules:
    - {when: 'tool.input.command == "ls"', outcome: allow}
    - {when: 'tool.input.command == "rm"', outcome: deny, explanation: no rm}
"""
JUDGE = RULES + "  judge: {model: claude-judge}\n"
CLAUDE = GATEWAY.replace("dialects: [chat]", "dialects: [messages]").replace("gpt-4o-mini", "claude-sonnet-5")
SSE = "text/event-stream"
SAFEGUARDS = [{"type": "dangerous_tool_use", "classifier_context": {"live_cwd": "/w"}}]
ASK: Json = {
    "model": "claude-x", "max_tokens": 10, "stream": True, "safeguards": SAFEGUARDS,
    "messages": [{"role": "user", "content": "q"}],
    "tools": [{"name": "Bash", "input_schema": {"type": "object"}}],
}  # fmt: skip
THEIRS: Json = {"type": "evaluated", "outcome": "flagged", "explanation": "theirs"}
SKIPPED: Json = {"type": "skipped"}
NOT_FLAGGED: Json = {"type": "evaluated", "outcome": "not_flagged"}
FLAGGED: Json = {"type": "evaluated", "outcome": "flagged", "explanation": "no rm"}
ALLOWED = {"a": Verdict(VerdictOutcome.ALLOW, "", "judge")}


@pytest.fixture(scope="module")
def by_rule(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    return gateway(tmp_path_factory.mktemp("rules"), GATEWAY + RULES)


@pytest.fixture(scope="module")
def judging(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    return gateway(tmp_path_factory.mktemp("judge"), GATEWAY + JUDGE)


@pytest.fixture(scope="module")
def on_claude(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    return gateway(tmp_path_factory.mktemp("claude"), CLAUDE + RULES)


def chunk(**delta: Any) -> bytes:
    return b"data: " + msgspec.json.encode({"id": "c", "choices": [{"index": 0, "delta": delta}]}) + b"\n\n"


def calls(command: str, identifier: str = "a") -> Json:
    return {
        "id": identifier,
        "type": "function",
        "function": {"name": "Bash", "arguments": f'{{"command":"{command}"}}'},
    }


def asks(command: str) -> bytes:
    return chunk(tool_calls=[{"index": 0, **calls(command)}])


FINISH = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}\n\n'
DONE = b"data: [DONE]\n\n"
HELD = ["content_block_start", "content_block_delta", "content_block_stop"]


def sent(gate: Gateway, **changes: Any) -> Playbook:
    play = Playbook(gate) >> request_headers(token=token()) << awaits()
    play >> request_body(ASK | changes) << forwards({})
    return play >> response_headers(content_type=SSE if (ASK | changes)["stream"] else "application/json")


def begun(gate: Gateway, command: str) -> Playbook:
    play = sent(gate) >> response_body(chunk(content="hm")) << begins(headers={"x-translation-warnings": ABSENT})
    return play << says(end=False) >> response_body(asks(command)) << says(end=False)


def results(verdicts: Json) -> list[Json]:
    return [{"type": "dangerous_tool_use", "status": {"type": "available", "tool_uses": verdicts}}]


@pytest.mark.parametrize(
    ("command", "verdict", "outcome", "rule"),
    [
        ("ls", NOT_FLAGGED, "allow", "auto_mode.rules.0"),
        ("rm", FLAGGED, "deny", "auto_mode.rules.1"),
        ("pwd", {"type": "unavailable", "reason": "error"}, "unavailable", "otherwise"),
    ],
)
def test_a_rule_decides_at_once(by_rule: Gateway, command: str, verdict: Json, outcome: str, rule: str) -> None:
    play = begun(by_rule, command) >> response_body(FINISH + DONE)
    known = {record.AUTO_MODE_OUTCOME: outcome, record.AUTO_MODE_RULE: rule, record.ENDED: True}
    assert _results(play.pending[0]) == results({"a": verdict})
    play << says(end=False, record=known)
    assert play >> response_body(b"", end=True) << says(end=True)


def _results(action: Any) -> Any:
    data = [json.loads(line[6:]) for line in action.body.splitlines() if line.startswith(b"data: ")]
    return next(one["delta"]["safeguard_results"] for one in data if one["type"] == "message_delta")


def test_only_the_end_waits_for_the_judge(judging: Gateway) -> None:
    play = begun(judging, "pwd")
    play >> response_body(FINISH + DONE, end=True) << says(end=False, text="")
    verdicts = play.exchange.verdicts
    assert verdicts is not None and verdicts.open == (ToolCall("a", "Bash", {"command": "pwd"}),)
    assert play.exchange.deadline == play.now + 15
    assert play.after(15) >> DEADLINE_REACHED << says(end=False, events=["ping"], record={record.ENDED: ABSENT})
    play.after(1) >> Judged(ALLOWED)
    assert _results(play.pending[0]) == results({"a": NOT_FLAGGED})
    known = {record.AUTO_MODE_OUTCOME: "allow", record.AUTO_MODE_RULE: "judge", record.ENDED: True}
    assert play << says(end=True, events=["message_delta", "message_stop"], record=known)


def test_the_provider_may_go_on_after_the_judge(judging: Gateway) -> None:
    play = begun(judging, "pwd") >> response_body(FINISH + DONE) << says(end=False) >> Judged({}) << says(end=False)
    assert play >> response_body(b"", end=True) << says(end=True)


def test_while_the_judge_is_asked_the_providers_time_does_not_run_out(judging: Gateway) -> None:
    play = begun(judging, "pwd") >> response_body(FINISH + DONE) << says(end=False)
    play.after(10_000) >> DEADLINE_REACHED << says(end=False, events=["ping"])
    assert play >> Judged(ALLOWED) << says(end=False)


def test_json_waits_as_a_whole(judging: Gateway) -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [calls("pwd"), calls("rm", "b"), calls("ls", "c")]}
    whole = {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    play = sent(judging, stream=False) >> response_body(whole) >> response_body(b"", end=True)
    verdicts = play.exchange.verdicts
    assert verdicts is not None and [call.id for call in verdicts.open] == ["a"]
    assert play.exchange.deadline is None
    play >> Judged(ALLOWED) << begins(200)
    expected = results({"a": NOT_FLAGGED, "b": FLAGGED, "c": NOT_FLAGGED})
    known = {record.AUTO_MODE_OUTCOME: "deny", record.AUTO_MODE_RULE: "auto_mode.rules.1"}
    assert play << says(end=True, body={"stop_reason": "tool_use", "safeguard_results": expected}, record=known)


def test_a_stream_that_breaks_off_has_no_verdict(judging: Gateway) -> None:
    play = begun(judging, "pwd") >> response_body(b"", end=True)
    assert play << says(
        end=True, events=["content_block_stop", "error"][-1:], record={record.AUTO_MODE_OUTCOME: ABSENT}
    )


def test_an_answer_without_calls_has_no_verdict(judging: Gateway) -> None:
    play = sent(judging) >> response_body(chunk(content="hm")) << begins() << says(end=False)
    play >> response_body(FINISH.replace(b"tool_calls", b"stop") + DONE, end=True)
    assert play << says(end=True, record={record.AUTO_MODE_OUTCOME: ABSENT, record.ENDED: True})


def test_who_does_not_ask_gets_none(judging: Gateway) -> None:
    play = sent(judging, safeguards=None)
    assert play.exchange.verdicts is None
    play >> response_body(asks("rm")) << begins() << says(end=False)
    play >> response_body(FINISH + DONE)
    assert b"safeguard" not in play.pending[0].body  # type: ignore[union-attr]
    assert play << says(end=False)


def test_without_auto_mode_the_field_is_dropped_as_before(tmp_path: Path) -> None:
    play = Playbook(gateway(tmp_path)) >> request_headers(token=token()) << awaits() >> request_body(ASK)
    assert play << forwards({}, warnings="dropped:safeguards") and play.exchange.verdicts is None


def test_counting_tokens_asks_for_no_verdict(by_rule: Gateway) -> None:
    play = Playbook(by_rule) >> request_headers("/v1/messages/count_tokens", token=token()) << awaits()
    play >> request_body({name: ASK[name] for name in ("model", "messages", "safeguards")})
    play.pending.clear()
    assert play.exchange.verdicts is None


def claudes(command: str, provided: Json) -> bytes:
    """An answer of Claude's with a word of its own on the one call."""
    block = {"type": "tool_use", "id": "a", "name": "Bash", "input": {}}
    arguments = {"type": "input_json_delta", "partial_json": f'{{"command": "{command}"}}'}
    events: list[Json] = [
        {"type": "message_start", "message": {"type": "message", "id": "m", "content": [], "usage": {}}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": arguments},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use", "safeguard_results": results({"a": provided})}},
        {"type": "message_stop"},
    ]
    return b"".join(b"event: %s\ndata: %s\n\n" % (one["type"].encode(), msgspec.json.encode(one)) for one in events)


@pytest.mark.parametrize(
    ("command", "provided", "verdict", "by"),
    [
        ("rm", NOT_FLAGGED, FLAGGED, "auto_mode.rules.1"),
        ("rm", THEIRS, FLAGGED, "auto_mode.rules.1"),
        ("ls", THEIRS, THEIRS, "provider"),
        ("ls", NOT_FLAGGED, NOT_FLAGGED, "provider"),
        ("pwd", NOT_FLAGGED, NOT_FLAGGED, "provider"),
        ("rm", SKIPPED, FLAGGED, "auto_mode.rules.1"),
        ("ls", SKIPPED, NOT_FLAGGED, "auto_mode.rules.0"),
        ("pwd", SKIPPED, SKIPPED, "provider"),
    ],
)
def test_claudes_own_verdict_stands_unless_a_rule_denies(
    on_claude: Gateway, command: str, provided: Json, verdict: Json, by: str
) -> None:
    play = Playbook(on_claude) >> request_headers(token=token()) << awaits() >> request_body(ASK)
    play << forwards({"safeguards": SAFEGUARDS}) >> response_headers(content_type=SSE)
    play >> response_body(claudes(command, provided), end=True)
    assert _results(play.pending[1]) == results({"a": verdict})
    assert play << begins() << says(end=True, record={record.AUTO_MODE_RULE: by})


def test_two_calls_of_one_id_get_the_stricter_verdict(on_claude: Gateway) -> None:
    blocks = [{"type": "tool_use", "id": "a", "name": "Bash", "input": {"command": name}} for name in ("rm", "ls")]
    whole = {"type": "message", "content": blocks, "stop_reason": "tool_use"}
    play = Playbook(on_claude) >> request_headers(token=token()) << awaits()
    play >> request_body(ASK | {"stream": False}) << forwards({}) >> response_headers()
    play >> response_body(whole, end=True) << begins()
    assert play << says(end=True, body={"safeguard_results": results({"a": FLAGGED})})
