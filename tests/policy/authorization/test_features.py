"""What rules see of a body, in every dialect and in the words of careless or sly clients."""

from typing import Any

import msgspec
import pytest

from extproc.policy.authorization.features import MAX_TOOLS, read_features
from extproc.wire import dialects

Json = dict[str, Any]
SIZE = 100


def read(dialect: str, body: Json, size: int = SIZE) -> Json:
    return read_features(dialect, body, size)


TURN = {"role": "user", "content": "q"}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "x"}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "x"}}


@pytest.mark.parametrize("dialect", dialects.names())
def test_the_least(dialect: str) -> None:
    body = {dialects.row(dialect).turns: [TURN]}
    assert read(dialect, body) == {
        "stream": False,
        "tools": [],
        "has_images": False,
        "has_pdf": False,
        "messages": 1,
        "thinking": False,
        "estimated_tokens": SIZE / 4,
    }


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


@pytest.mark.parametrize(("turns", "count"), [([TURN] * 3, 3), ([], 0), ("hello", 1), (None, None), ({"a": 1}, None)])
@pytest.mark.parametrize("dialect", dialects.names())
def test_messages_are_counted(dialect: str, turns: object, count: int | None) -> None:
    assert read(dialect, {dialects.row(dialect).turns: turns}).get("messages") == count


@pytest.mark.parametrize("member", ["conversation", "previous_response_id", "prompt"])
def test_what_the_provider_has_kept_cannot_be_seen(member: str) -> None:
    body = {"input": "q", member: "x", "max_output_tokens": 5}
    assert read("responses", body) == {"stream": False, "max_tokens": 5}
    assert read("responses", body | {member: None})["messages"] == 1
    assert read("responses", body | {"reasoning": {"effort": "low"}})["thinking"] is True


def test_a_thread_that_goes_on_cannot_be_seen() -> None:
    body = {"messages": [TURN], "max_tokens": 5}
    assert read("messages", body | {"thread": {"type": "create"}})["tools"] == []
    assert "tools" not in read("messages", body | {"thread": {"type": "continue", "previous_message_id": "m"}})


@pytest.mark.parametrize("dialect", dialects.names())
@pytest.mark.parametrize("name", ["system", "System", "instructions"])
def test_images_and_pdfs_may_stand_in_the_system_prompt(dialect: str, name: str) -> None:
    found = read(dialect, {dialects.row(dialect).turns: [TURN], name: [IMAGE, PDF]})
    assert (found["has_images"], found["has_pdf"]) == (True, True)


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


THINKING: list[tuple[Json, bool | None]] = [
    ({}, False),
    ({"thinking": {"type": "adaptive"}}, True),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, True),
    ({"thinking": {"type": "disabled"}}, False),
    ({"thinking": {"type": "between_tools"}}, False),
    ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, False),
    ({"output_config": {"effort": "medium", "format": {}}}, True),
    ({"output_config": {"format": {}}}, False),
    ({"reasoning_effort": "high"}, True),
    ({"reasoning_effort": "none"}, False),
    ({"Reasoning_Effort": "MINIMAL"}, False),
    ({"reasoning": {"effort": "low", "summary": "auto"}}, True),
    ({"reasoning": {"summary": "auto"}}, False),
    ({"reasoning": {"effort": "none"}}, False),
    ({"reasoning": {"effort": "minimal"}}, False),
    ({"reasoning": {"max_tokens": 2000}}, True),
    ({"reasoning": {"enabled": False}}, False),
    ({"enable_thinking": True}, True),
    ({"enable_thinking": False, "thinking_budget": 0}, False),
    ({"think": "high"}, True),
    ({"chat_template_kwargs": {"enable_thinking": False}}, False),
    ({"chat_template_kwargs": {"thinking": True}}, True),
    ({"reasoning_effort": []}, None),
    ({"reasoning_effort": 1.5}, None),
    ({"thinking": []}, None),
    ({"reasoning": []}, None),
    ({"output_config": {"effort": {}}}, None),
    ({"reasoning_effort": [], "thinking": {"type": "adaptive"}}, True),
]


@pytest.mark.parametrize(("body", "expected"), THINKING)
@pytest.mark.parametrize("dialect", dialects.names())
def test_thinking(dialect: str, body: Json, expected: bool | None) -> None:
    assert read(dialect, {dialects.row(dialect).turns: [TURN], **body}).get("thinking") is expected


@pytest.mark.parametrize(
    ("dialect", "turn"),
    [
        ("messages", TURN | {"output_config": {"effort": "low"}}),
        ("responses", {"type": "configuration", "reasoning": {"effort": "low"}}),
    ],
)
def test_a_turn_may_ask_for_thinking(dialect: str, turn: Json) -> None:
    body: Json = {dialects.row(dialect).turns: [turn, TURN]}
    assert read(dialect, body)["thinking"] is True
    assert read(dialect, body | {"thinking": {"type": "disabled"}})["thinking"] is False


def test_what_a_turn_asks_for_cannot_be_told() -> None:
    assert "thinking" not in read("messages", {"messages": [TURN | {"output_config": {"effort": []}}]})


def test_reasoning_that_a_model_has_written_asks_for_none() -> None:
    assert read("chat", {"messages": [{"role": "assistant", "reasoning": "high"}]})["thinking"] is False


def test_input_tokens_are_estimated_by_bytes_but_for_media() -> None:
    png = {"type": "base64", "media_type": "image/png", "data": "A" * 40_000}
    body = {
        "messages": [{"role": "user", "content": [{"type": "image", "source": png}, {"type": "text", "text": "q"}]}]
    }
    size = len(msgspec.json.encode(body))
    assert read("messages", body, size)["estimated_tokens"] == -((40_000 - size) // 4) + 1600


@pytest.mark.parametrize("tool", [{"name": "a"}, {"name": "a", "tools": []}, {"name": "a", "tools": [{"name": "b"}]}])
def test_more_tools_than_anybody_has_are_not_looked_through(tool: Json) -> None:
    assert "tools" in read("messages", {"messages": [TURN], "tools": [tool] * (MAX_TOOLS // 2)})
    assert "tools" not in read("messages", {"messages": [TURN], "tools": [tool] * (MAX_TOOLS + 1)})
