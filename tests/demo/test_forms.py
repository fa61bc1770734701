from typing import Any

import msgspec

from extproc.demo import forms
from extproc.demo.plan import Plan
from extproc.demo.script import Call

CALLS = (Call("get_weather", '{"city": "Zürich 🏔", "days": 3}'), Call("get_time", "{}"))


def answer(*calls: Call, text: str = "Hello from the demo model", thought: str = "") -> forms.Answer:
    plan = Plan(text, thought, calls, "tool_calls" if calls else "stop")
    return forms.Answer(plan=plan, model="gpt-4o", nonce="n", created=1, request_bytes=400)


def chunks(frames: list[bytes]) -> list[dict[str, Any]]:
    assert frames[-1] == forms.DONE
    return [msgspec.json.decode(frame.removeprefix(b"data: ")) for frame in frames[:-1]]


def test_text_stream() -> None:
    got = chunks(forms.frames(answer(thought="let me see"), include_usage=True))
    deltas = [chunk["choices"][0]["delta"] for chunk in got[:-1]]
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "let me see"
    assert "".join(delta.get("content", "") for delta in deltas) == "Hello from the demo model"
    assert [chunk["choices"][0]["finish_reason"] for chunk in got[:-1]] == [None] * (len(got) - 2) + ["stop"]
    assert got[-1]["choices"] == []
    assert got[-1]["usage"]["prompt_tokens"] == 100
    assert got[-1]["usage"]["total_tokens"] == 100 + got[-1]["usage"]["completion_tokens"]
    assert all(chunk["usage"] is None for chunk in got[:-1])


def test_usage_only_when_asked() -> None:
    assert all("usage" not in chunk for chunk in chunks(forms.frames(answer(), include_usage=False)))


def test_calls_come_in_fragments_by_index() -> None:
    heads: dict[int, dict[str, Any]] = {}
    arguments: dict[int, list[str]] = {}
    for chunk in chunks(forms.frames(answer(*CALLS, text=""), include_usage=False)):
        for call in chunk["choices"][0]["delta"].get("tool_calls", []):
            heads.setdefault(call["index"], call)
            arguments.setdefault(call["index"], []).append(call["function"]["arguments"])
    assert [(head["id"], head["function"]["name"]) for head in heads.values()] == [
        ("call_n0", "get_weather"),
        ("call_n1", "get_time"),
    ]
    assert ["".join(parts) for parts in arguments.values()] == [call.arguments for call in CALLS]
    assert len(arguments[0]) > 2


def test_whole() -> None:
    body = msgspec.json.decode(forms.whole(answer(*CALLS, text="", thought="hm")))
    [choice] = body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["reasoning_content"] == "hm"
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["get_weather", "get_time"]
    assert (body["object"], body["model"], body["id"]) == ("chat.completion", "gpt-4o", "chatcmpl-n")


def test_half_never_ends() -> None:
    for said in (answer(), answer(text="x"), answer(CALLS[1], text=""), answer(text="")):
        sent = b"".join(forms.half(forms.frames(said, include_usage=True)))
        assert b'"finish_reason":null' in sent
        assert b'"finish_reason":"' not in sent
        assert b"[DONE]" not in sent


def test_error() -> None:
    body = msgspec.json.decode(forms.error(429, "Slow down", code="rate_limit_exceeded"))
    error = {"message": "Slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
    assert body == {"error": error}
