"""The conversation as input items."""

from typing import Any

import pytest

from extproc.translate.signature import seal
from tests.translate.asking import assistant, call, result, text, user
from tests.translate.responses_upstream import refusal, sent, target

PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}
IMAGE = {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}
SHOWN = {"type": "input_image", "image_url": "https://x/y.png", "detail": "auto"}


def thinking(
    text: str = "t", encrypted: Any = "E", hidden: str | None = None, carrier: str = "openai_responses"
) -> Any:
    return {
        "type": "thinking",
        "thinking": text,
        "signature": seal(carrier, {"id": "rs_1", "encrypted_content": encrypted}, hidden),
    }


def items(*messages: Any, **profile: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sent(messages=list(messages), to=target(**profile))["input"]
    return found


def kinds(*messages: Any, **profile: Any) -> list[str]:
    return [item["type"] for item in items(*messages, **profile)]


def reasoning(*summary: str) -> dict[str, Any]:
    texts = [{"type": "summary_text", "text": text} for text in summary]
    return {"type": "reasoning", "id": "rs_1", "summary": texts, "encrypted_content": "E"}


Q, A = user(text("q")), assistant(text("a"))


def test_a_users_parts_stay_in_order() -> None:
    parts = [
        text("a"),
        IMAGE,
        {"type": "document", "title": "t", "source": PDF},
        {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
        text("b"),
    ]
    [message] = items(user(*parts))
    assert message["content"] == [
        {"type": "input_text", "text": "a"},
        SHOWN,
        {"type": "input_file", "filename": "t.pdf", "file_data": "data:application/pdf;base64,JVBE"},
        {"type": "input_file", "file_url": "https://x/y.pdf"},
        {"type": "input_text", "text": "b"},
    ]


def test_files_only_where_the_profile_has_them() -> None:
    for source in (PDF, {"type": "url", "url": "https://x/y.pdf"}):
        asked = [user({"type": "document", "source": source})]
        assert refusal(messages=asked, to=target(files=False)).startswith("messages.0.content.0.source: ")


@pytest.mark.parametrize(
    ("content", "failed", "output"),
    [
        ("r", False, "r"),
        (None, False, ""),
        (None, True, "Error: (no details)"),
        ([text("a"), text("b")], True, "Error: a\n\nb"),
        ([text("a"), IMAGE, text("b")], False, ["a", SHOWN, "b"]),
        ([IMAGE, text("a")], True, [SHOWN, "Error: a"]),
        ([IMAGE], True, ["Error: (no details)", SHOWN]),
        ([{"type": "document", "source": PDF}], False, [
            {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBE"}
        ]),
    ],
)  # fmt: skip
def test_outputs_of_calls(content: Any, failed: bool, output: Any) -> None:
    found = items(Q, assistant(call()), user(result(content=content, is_error=failed)))[-1]
    if isinstance(output, list):
        output = [{"type": "input_text", "text": part} if isinstance(part, str) else part for part in output]
    assert found == {"type": "function_call_output", "call_id": "toolu_1", "output": output}


def test_pictures_of_results_move_where_the_profile_says_so() -> None:
    history = (Q, assistant(call()), user(result(content=[IMAGE]), text("more")))
    output, after = items(*history, tool_result_images="user_message")[-2:]
    assert output["output"] == "[image #1 of tool result toolu_1 attached in the next user message]"
    assert [part["type"] for part in after["content"]] == ["input_text", "input_image", "input_text"]


def test_outputs_stand_in_the_order_of_the_calls_before_the_user_speaks() -> None:
    answered = user(result("b"), text("more"), result("a"))
    found = items(Q, assistant(call("a"), call("b")), answered)
    assert [item.get("call_id", item.get("role")) for item in found] == ["user", "a", "b", "a", "b", "user"]


def test_an_assistants_blocks_stay_in_order_and_texts_of_one_run_join() -> None:
    said = assistant(text("a"), text("b"), thinking(), call("c"), text("d"))
    found = items(Q, said, user(result("c")))
    assert found[1:5] == [
        {"type": "message", "role": "assistant", "content": "ab"},
        reasoning("t"),
        {"type": "function_call", "call_id": "c", "name": "t", "arguments": "{}"},
        {"type": "message", "role": "assistant", "content": "d"},
    ]


def test_a_seam_between_two_messages_of_the_assistant() -> None:
    assert items(Q, A, assistant(text("b"), text("c")), Q)[1]["content"] == "a\n\nbc"


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (thinking(), [reasoning("t")]),
        (thinking(""), [reasoning()]),
        (thinking("", hidden="h"), [reasoning("h")]),
        (thinking(encrypted=None), []),
        (thinking(carrier="reasoning_details"), []),
        ({"type": "thinking", "thinking": "t", "signature": "EqQB"}, []),
        ({"type": "redacted_thinking", "data": thinking("", hidden="h")["signature"]}, [reasoning("h")]),
        ({"type": "redacted_thinking", "data": "EqQB"}, []),
    ],
)
def test_reasoning_goes_back_to_whom_it_came_from(block: Any, expected: Any) -> None:
    assert items(Q, assistant(block, text("a")), Q)[1:-2] == expected


def test_reasoning_at_the_end_of_a_turn_is_left_out() -> None:
    assert kinds(Q, assistant(text("a"), thinking(), thinking()), Q) == ["message"] * 3
    assert kinds(Q, assistant(thinking()), Q) == ["message"]
    assert kinds(Q, assistant(thinking(), thinking(), text("a")), Q) == [
        "message",
        "reasoning",
        "reasoning",
        *["message"] * 2,
    ]


def test_ids_and_names_of_calls() -> None:
    long, name = "x" * 65, "n" * 128
    _, made, output = items(Q, assistant(call(long, name)), user(result(long)))
    assert made["call_id"] == output["call_id"] and made["call_id"].startswith("call_") and len(made["call_id"]) == 37
    assert made["name"] == name
    assert items(Q, assistant(call("x" * 64)), user(result("x" * 64)))[1]["call_id"] == "x" * 64


def test_instructions_in_the_middle_stay_there() -> None:
    found = items(Q, {"role": "system", "content": "s"}, A, Q)
    assert found[1] == {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "s"}]}


def test_phases_of_what_was_said() -> None:
    said = assistant(text("a"), call("c"), text("b"))
    found = items(Q, said, user(result("c")), A, Q, phase=True)
    assert [item["phase"] for item in found if item.get("role") == "assistant"] == [
        "commentary",
        "final_answer",
        "final_answer",
    ]
    assert "phase" not in items(Q, A, Q)[1]


def test_calls_need_their_results() -> None:
    assert refusal(messages=[Q, assistant(call())]).startswith("messages.1: `tool_use` ids were found without")
    assert "unexpected `tool_use_id`" in refusal(messages=[Q, A, user(result())])


@pytest.mark.parametrize("rule", ["reject", "continue_final", "prefix"])
def test_a_prefill_is_refused(rule: str) -> None:
    assert "does not support assistant message prefill" in refusal(messages=[Q, A], to=target(prefill=rule))


def test_a_prefill_that_is_sent_on() -> None:
    assert items(Q, A, prefill="pass")[-1]["content"] == "a"
    assert items(Q, A, prefill="append_user")[-1]["content"] == [{"type": "input_text", "text": "Continue."}]


def test_cache_hints_sit_on_parts_and_only_the_last_four_stay() -> None:
    hint = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    [message] = items(user(*(text(str(n), **hint) for n in range(6))), map_cache_control=True)
    marked = ["prompt_cache_breakpoint" in part for part in message["content"]]
    assert marked == [False, False, True, True, True, True]
    assert message["content"][-1]["prompt_cache_breakpoint"] == {"mode": "explicit", "ttl": "12h"}
