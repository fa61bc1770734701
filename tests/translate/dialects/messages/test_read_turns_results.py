from typing import Any

import pytest

from tests.translate.asking import ask, assistant, body, call, refusal, result, sent, target, text, user

PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}}


def conversation(answer: dict[str, Any], *more: Any) -> dict[str, Any]:
    return body(messages=[user(text("q")), assistant(call()), user(answer, *more)])


def after_call(answer: dict[str, Any], *more: Any, **profile: Any) -> Any:
    return sent(conversation(answer, *more), target(**profile))["messages"][2:]


def content(answer: dict[str, Any]) -> Any:
    return after_call(answer)[0]["content"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (result(content=None), ""),
        (result(content=[]), ""),
        (result(content=[text("a"), text(""), text("b")]), "a\n\nb"),
        (result(content="boom", is_error=True), "Error: boom"),
        (result(content="ERROR 7", is_error=True), "ERROR 7"),
        (result(content="", is_error=True), "Error: (no details)"),
        (result(content=[{"type": "tool_reference", "tool_name": "x"}]), "Tool available: x"),
        (
            result(content=[{"type": "search_result", "source": "s", "title": "t", "content": [text("x")]}]),
            "[Search result: t]\nSource: s\nx\n[End of search result]",
        ),
        (
            result(content=[{"type": "document", "source": {"type": "text", "data": "d"}}]),
            "[Document: untitled]\nd\n[End of document]",
        ),
    ],
)
def test_text(answer: dict[str, Any], told: str) -> None:
    assert content(answer) == told


def test_browser_state() -> None:
    tabs = [{"tab_id": "1", "title": "T", "url": "u", "active": True}, {"tab_id": "2", "title": "S", "url": "v"}]
    changes = [
        {"type": "tab_opened", "tab_id": "2"},
        {"type": "download_completed", "download_id": "d", "url": "v", "path": None, "size_bytes": 3},
        {"type": "{url.__class__}", "url": "v"},
        {},
    ]
    told = content(result(content=[{"type": "browser_state", "tabs": tabs, "state_changes": changes}]))
    assert told.splitlines() == [
        "Tabs:",
        "* 1 T u (active)",
        "* 2 S v",
        "Tab opened: 2",
        "Download completed: d v 3",
        "{url.__class__}",
        "Changed",
    ]


def test_images_move_to_the_next_user_message() -> None:
    assert after_call(result(content=[text("a"), PNG, PNG]), text("b")) == [
        {
            "role": "tool",
            "tool_call_id": "toolu_1",
            "content": "a\n\n[image #1 of tool result toolu_1 attached in the next user message]"
            "\n\n[image #2 of tool result toolu_1 attached in the next user message]",
        },
        {
            "role": "user",
            "content": [
                text("[image #1 of tool result toolu_1]"),
                PART,
                text("[image #2 of tool result toolu_1]"),
                PART,
                text("b"),
            ],
        },
    ]


def test_images_stay_where_the_upstream_takes_them() -> None:
    (told,) = after_call(result(content=[text("a"), PNG]), tool_result_images="inline")
    assert told["content"] == [text("a"), PART]


def test_pdf_moves_too() -> None:
    told, attached = after_call(result(content=[PDF]))
    assert told["content"] == "[document #1 of tool result toolu_1 attached in the next user message]"
    assert attached["content"][0] == text("[document #1 of tool result toolu_1]")
    assert attached["content"][1]["type"] == "file"


def test_cache_hint() -> None:
    (told,) = after_call(result(cache_control={"type": "ephemeral"}), map_cache_control=True)
    assert told["content"] == [text("r", prompt_cache_breakpoint={"mode": "explicit"})]


def test_unknown_block() -> None:
    asked = conversation(result(content=[{"type": "hologram", "text": "x"}, {"type": "hologram"}]))
    assert ask(asked).warnings == ("approx:messages.2.content.0.content.0", "dropped:messages.2.content.0.content.1")
    assert sent(asked)["messages"][2]["content"] == "x"
    assert "hologram" in refusal(asked, target(strictness="strict"))


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"type": "tool_result"}, "tool_use_id: Field required"),
        (result(content=7), "content: Input should be a valid list"),
        (result(content=[7]), "content.0: Input should be a valid dictionary"),
        (result(content=[{"type": "browser_state"}]), "content.0.tabs: Field required"),
        (result(is_error="yes"), "is_error: Input should be a valid boolean"),
    ],
)
def test_refused(answer: dict[str, Any], problem: str) -> None:
    assert refusal(conversation(answer)).startswith(f"messages.2.content.0.{problem}")
