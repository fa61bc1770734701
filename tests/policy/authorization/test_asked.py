"""What rules see of a body, in every dialect and in the words of careless or sly clients."""

from typing import Any

import pytest

from extproc.policy.authorization.asked import MAX_TOOLS, read
from extproc.wire import dialects

Json = dict[str, Any]
TURN = {"role": "user", "content": "q"}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "x"}}
IMAGE_URL = {"type": "image_url", "image_url": {"url": "https://x"}}


@pytest.mark.parametrize("dialect", dialects.names())
def test_the_least(dialect: str) -> None:
    body = {dialects.row(dialect).turns: [TURN]}
    assert read(dialect, body) == {"stream": False, "tools": [], "has_images": False, "messages": 1}


@pytest.mark.parametrize(
    ("dialect", "body", "limit"),
    [
        ("messages", {"max_tokens": 5}, 5),
        ("messages", {"max_completion_tokens": 5}, None),
        ("chat", {"max_tokens": 5}, 5),
        ("chat", {"max_completion_tokens": 5}, 5),
        ("chat", {"max_completion_tokens": 5, "max_tokens": 9}, 9),
        ("chat", {"max_completion_tokens": 5, "max_tokens": None}, 5),
        ("chat", {"max_completion_tokens": 5, "max_tokens": "9"}, None),
        ("responses", {"max_output_tokens": 5, "max_tokens": 9}, 5),
        ("chat", {"max_tokens": 5, "n": 3}, 15),
        ("chat", {"max_tokens": 5, "n": 3, "Best_Of": 4}, 20),
        ("chat", {"max_tokens": 5, "n": None}, 5),
        ("chat", {"max_tokens": 5, "n": 0}, 5),
        ("messages", {"max_tokens": 5, "n": 2}, 10),
        *(("chat", {"max_tokens": 5, "n": odd}, None) for odd in ("2", 2.0, True, [2], 2**62)),
        *(("messages", {"max_tokens": odd}, None) for odd in (True, "5", 5.0, None, [5], 2**63, -(2**63))),
    ],
)
def test_the_limit(dialect: str, body: Json, limit: int | None) -> None:
    assert read(dialect, body).get("max_tokens") == limit


@pytest.mark.parametrize(
    ("stream", "expected"), [(True, True), (False, False), (None, False), (1, None), ("true", None), ({}, None)]
)
@pytest.mark.parametrize("dialect", dialects.names())
def test_a_stream(dialect: str, stream: object, expected: bool | None) -> None:
    assert read(dialect, {"stream": stream}).get("stream") is expected


MESSAGES_TOOLS: list[tuple[Json, list[str] | None]] = [
    ({"tools": [{"name": "bash", "input_schema": {}}, {"name": "ls", "type": "custom"}]}, ["bash", "ls"]),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, ["web_search"]),
    ({"tools": [{"type": "web_search_20250305", "name": "harmless"}]}, ["harmless", "web_search"]),
    (
        {"tools": [{"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}]},
        ["str_replace_based_edit_tool", "text_editor"],
    ),
    ({"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]}, ["mcp_toolset"]),
    ({"mcp_servers": [{"name": "x", "url": "https://x"}]}, ["mcp_toolset"]),
    ({"mcp_servers": []}, []),
]
CHAT_TOOLS: list[tuple[Json, list[str] | None]] = [
    ({"tools": [{"type": "function", "function": {"name": "bash"}}]}, ["bash"]),
    ({"tools": [{"type": "custom", "custom": {"name": "grep"}}]}, ["grep"]),
    ({"tools": [{"type": "function", "name": "harmless", "function": {"name": "bash"}}]}, ["harmless", "bash"]),
    ({"functions": [{"name": "old"}], "tools": None}, ["old"]),
    ({"web_search_options": {}}, ["web_search"]),
    ({"tools": [{"type": "web_search_preview_2025_03_11"}]}, ["web_search_preview"]),
]
RESPONSES_TOOLS: list[tuple[Json, list[str] | None]] = [
    ({"tools": [{"type": "function", "name": "bash"}, {"type": "custom", "name": "grep"}]}, ["bash", "grep"]),
    ({"tools": [{"type": "web_search"}, {"type": "mcp", "server_label": "x"}]}, ["web_search", "mcp"]),
    (
        {"tools": [{"type": "namespace", "name": "fs", "tools": [{"type": "function", "name": "rm"}]}]},
        ["fs", "namespace", "rm"],
    ),
    ({"tools": [{"type": "namespace", "name": "fs", "tools": "rm"}]}, None),
    ({"input": [{"type": "additional_tools", "tools": [{"type": "function", "name": "bash"}]}]}, ["bash"]),
    ({"input": [{"type": "additional_tools", "tools": {}}]}, None),
    ({"prompt": {"id": "p"}, "tools": []}, None),
]
ANY_TOOLS: list[tuple[Json, list[str] | None]] = [
    ({"plugins": [{"id": "web"}, {"id": "file-parser"}]}, ["plugins", "web", "file-parser", "web_search"]),
    ({"plugins": "web"}, ["plugins"]),
    ({"Search_Parameters": {"mode": "auto"}}, ["web_search"]),
    ({"enable_search": True}, ["web_search"]),
    ({"enable_search": False, "plugins": [], "data_sources": None}, []),
    ({"data_sources": [{"type": "azure_search"}]}, ["data_sources"]),
    ({"container": {"id": "c"}}, []),
    ({"container": "c"}, []),
    ({"container": {"skills": [{"skill_id": "pptx"}, {"skill_id": "x"}, {}, 7]}}, ["skills", "pptx", "x"]),
    ({"tools": []}, []),
    ({"tools": [{"name": "a"}, {"name": "a"}]}, ["a"]),
    ({"tools": {}}, None),
    ({"tools": "bash"}, None),
    ({"tools": ["bash"]}, None),
    ({"tools": [{"name": "a"}, {}]}, None),
    ({"tools": [{"name": 7}]}, None),
    ({"tools": [{"type": "function", "function": "bash"}]}, None),
    ({"functions": {"name": "a"}}, None),
]


@pytest.mark.parametrize(
    ("dialect", "body", "names"),
    [
        *(("messages", *row) for row in (*MESSAGES_TOOLS, *ANY_TOOLS)),
        *(("chat", *row) for row in (*CHAT_TOOLS, *ANY_TOOLS)),
        *(("responses", *row) for row in (*RESPONSES_TOOLS, *ANY_TOOLS)),
    ],
)
def test_tools(dialect: str, body: Json, names: list[str] | None) -> None:
    assert read(dialect, body).get("tools") == names


def said(*content: Any) -> Json:
    return {"role": "user", "content": list(content)}


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (TURN, False),
        (said({"type": "text", "text": "image"}), False),
        (said({"type": "text", "text": "a"}, IMAGE), True),
        (said(IMAGE_URL), True),
        (said({"image_url": {"url": "https://x"}}), True),
        (said({"type": "input_image", "image_url": "https://x"}), True),
        (said({"type": "tool_result", "tool_use_id": "t", "content": [IMAGE]}), True),
        (said({"type": "document", "source": {"type": "content", "content": [IMAGE]}}), True),
        (said({"type": "document", "source": {"type": "base64", "media_type": "application/pdf"}}), False),
        (said({"type": "tool_use", "name": "draw", "input": {"type": "image"}}), False),
        ({"type": "function_call_output", "output": [{"type": "input_image"}]}, True),
        ({"role": "tool", "content": [IMAGE_URL]}, True),
        ({"role": "user", "content": IMAGE}, True),
        (said(None, 7, ["x", [IMAGE]]), True),
        (said({"type": "file", "file": {"file_data": "data:image/png;base64,eA=="}}), True),
        (said({"type": "file", "file": {"file_data": "data:application/pdf;base64,eA==", "filename": "a.pdf"}}), False),
        (said({"type": "file", "file": {"file_id": "f"}}), True),
        (said({"type": "file", "file": {"file_data": "eA==", "filename": "a.pdf"}}), True),
        (said({"type": "input_file", "file_data": "data:IMAGE/png;base64,eA=="}), True),
        (said({"type": "input_file", "file_data": "data:text/plain,x"}), False),
        (said({"type": "input_file", "file_url": "https://x/a.pdf"}), True),
        (said({"inline_data": {"mime_type": "image/png", "data": "eA=="}}), True),
        (said({"inlineData": {"mimeType": "application/pdf", "data": "eA=="}}), False),
        (said({"type": "video_url", "video_url": {"url": "https://x"}}), True),
        (said({"type": "input_video", "video": "x"}), True),
        (said({"type": "document", "source": {"type": "base64", "media_type": "image/png", "data": "x"}}), True),
        (said({"type": "new", "url": "data:image/png;base64,eA=="}), True),
        (said({"type": "text", "text": "data:image/png;base64,eA=="}), False),
        (said({"type": ["text"], "text": "a"}), False),
        (said({"type": "tool_result", "content": {"type": "file", "file": {"file_id": "f"}}}), True),
    ],
)
@pytest.mark.parametrize("dialect", dialects.names())
def test_images(dialect: str, turn: Json, expected: bool) -> None:
    body = {dialects.row(dialect).turns: [TURN, turn]}
    assert read(dialect, body)["has_images"] is expected


@pytest.mark.parametrize(("turns", "count"), [([TURN] * 3, 3), ([], 0), ("hello", 1), (None, None), ({"a": 1}, None)])
@pytest.mark.parametrize("dialect", dialects.names())
def test_messages_are_counted(dialect: str, turns: object, count: int | None) -> None:
    assert read(dialect, {dialects.row(dialect).turns: turns}).get("messages") == count


@pytest.mark.parametrize("member", ["conversation", "previous_response_id", "prompt"])
def test_what_the_provider_has_kept_cannot_be_seen(member: str) -> None:
    body = {"input": "q", member: "x", "max_output_tokens": 5}
    assert read("responses", body) == {"stream": False, "max_tokens": 5}
    assert read("responses", body | {member: None})["messages"] == 1


def test_a_thread_that_goes_on_cannot_be_seen() -> None:
    body = {"messages": [TURN], "max_tokens": 5}
    assert read("messages", body | {"thread": {"type": "create"}})["tools"] == []
    assert "tools" not in read("messages", body | {"thread": {"type": "continue", "previous_message_id": "m"}})


@pytest.mark.parametrize("dialect", dialects.names())
@pytest.mark.parametrize("name", ["system", "System", "instructions"])
def test_an_image_may_stand_in_the_system_prompt(dialect: str, name: str) -> None:
    assert read(dialect, {dialects.row(dialect).turns: [TURN], name: [IMAGE]})["has_images"] is True


@pytest.mark.parametrize(
    "item",
    [
        {"type": "item_reference", "id": "x"},
        {"type": "message", "Type": "item_reference", "role": "user", "id": "x"},
        {"id": "x"},
        {"Type": None, "id": "x"},
    ],
)
def test_nor_can_an_item_that_is_only_named(item: Json) -> None:
    assert read("responses", {"input": [TURN, item], "tools": [{"name": "t"}]}) == {"stream": False}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"Stream": True}, {"stream": True}),
        ({"stream": False, "STREAM": True}, {"stream": None}),
        ({"max_tokens": 5, "Max_Tokens": 9}, {"max_tokens": 9}),
        ({"Tools": [{"NAME": "bash"}], "tools": [{"name": "ls"}]}, {"tools": ["bash", "ls"]}),
        ({"tool\u017f": [{"name": "ls", "Name": "bash"}]}, {"tools": ["ls", "bash"]}),
        ({"tools": [{"Function": {"Name": "bash"}, "Type": "function"}]}, {"tools": ["bash"]}),
        ({"messages": [TURN], "Messages": [TURN, TURN]}, {"messages": None}),
        ({"Messages": [{"Content": [{"Type": "image_url"}]}]}, {"has_images": True, "messages": 1}),
        ({"messages": [{"content": [{"Image_URL": {}}]}]}, {"has_images": True}),
    ],
)
def test_some_servers_do_not_care_for_upper_and_lower_case(body: Json, expected: Json) -> None:
    found = read("chat", body)
    assert {name: found.get(name) for name in expected} == expected


def test_depth_is_no_danger() -> None:
    deep: Any = IMAGE
    for _ in range(5000):
        deep = {"content": [deep]}
    assert read("messages", {"messages": [deep]})["has_images"] is True


@pytest.mark.parametrize("tool", [{"name": "a"}, {"name": "a", "tools": []}, {"name": "a", "tools": [{"name": "b"}]}])
def test_more_tools_than_anybody_has_are_not_looked_through(tool: Json) -> None:
    assert "tools" in read("messages", {"messages": [TURN], "tools": [tool] * (MAX_TOOLS // 2)})
    assert "tools" not in read("messages", {"messages": [TURN], "tools": [tool] * (MAX_TOOLS + 1)})
