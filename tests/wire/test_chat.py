import json
from typing import Any

from extproc.wire import chat
from extproc.wire.chat import Chunks


def read(raw: bytes) -> dict[str, Any]:
    assert raw.startswith(b"data: ") and raw.endswith(b"\n\n")
    found = json.loads(raw.removeprefix(b"data: "))
    assert isinstance(found, dict)
    return found


def test_all_share_their_head() -> None:
    made = Chunks("i", 3, "m", include_usage=True)
    head = {"id": "i", "object": "chat.completion.chunk", "created": 3, "model": "m"}
    content = {"index": 0, "delta": {"content": 'é"'}, "finish_reason": None}
    assert read(made.message(chat.CONTENT, 'é"')) == {**head, "choices": [content], "usage": None}
    finish = {"index": 0, "delta": {}, "finish_reason": "stop"}
    assert read(made.finish("stop")) == {**head, "choices": [finish], "usage": None}
    assert read(made.usage({"total_tokens": 1})) == {**head, "choices": [], "usage": {"total_tokens": 1}}


def test_no_usage_unless_asked_for() -> None:
    made = Chunks("i", 3, "m", include_usage=False)
    assert "usage" not in read(made.delta({"role": "assistant"})) and "usage" not in read(made.finish("stop"))


def test_frames_say_what_their_delta_would() -> None:
    made = Chunks("i", 3, "m", include_usage=False)
    for frame, delta in (
        (chat.REASONING, {"reasoning_content": "x"}),
        (chat.FUNCTION_ARGUMENTS, {"function_call": {"arguments": "x"}}),
        (chat.call_arguments(2), {"tool_calls": [{"index": 2, "function": {"arguments": "x"}}]}),
    ):
        assert made.message(frame, "x") == made.delta(delta)
