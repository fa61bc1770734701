from typing import Any

import pytest

from extproc.translate.checked import Refused
from extproc.translate.dialects.messages import read_content


def failed(kind: str) -> dict[str, Any]:
    return {"type": kind, "content": {"error_code": "unavailable"}}


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"type": "server_tool_use", "name": "f", "input": {"ü": 1}}, '[f called with {"ü":1}]'),
        ({"type": "mcp_tool_use", "name": "f", "server_name": "s", "input": {}}, "[s.f called with {}]"),
        ({"type": "mcp_tool_result", "content": "x"}, "[result]\nx"),
        ({"type": "mcp_tool_result", "is_error": True, "content": [{"text": "x"}, {"text": "y"}]}, "[error]\nx\ny"),
        ({"type": "web_search_tool_result", "content": []}, "[web_search results]"),
        (failed("web_search_tool_result"), "[web_search error: unavailable]"),
        (
            {
                "type": "web_fetch_tool_result",
                "content": {"url": "u", "content": {"source": {"type": "text", "data": "d"}}},
            },
            "[web_fetch result: u]\nd",
        ),
        (
            {
                "type": "web_fetch_tool_result",
                "content": {"url": "u", "content": {"source": {"type": "base64", "data": "d"}}},
            },
            "[web_fetch result: u]",
        ),
        (failed("web_fetch_tool_result"), "[web_fetch error: unavailable]"),
        (
            {"type": "code_execution_tool_result", "content": {"return_code": 1, "stdout": "o\n", "stderr": "e\n"}},
            "[code execution result, return code 1]\no\ne",
        ),
        (
            {"type": "code_execution_tool_result", "content": {"encrypted_stdout": "x", "return_code": 0}},
            "[code execution result]",
        ),
        (failed("bash_code_execution_tool_result"), "[bash_code_execution error: unavailable]"),
        (
            {"type": "text_editor_code_execution_tool_result", "content": {"lines": ["a", "b"]}},
            "[text editor result]\na\nb",
        ),
        ({"type": "text_editor_code_execution_tool_result", "content": {"content": "a"}}, "[text editor result]\na"),
        ({"type": "text_editor_code_execution_tool_result"}, "[text editor result]"),
        (failed("text_editor_code_execution_tool_result"), "[text_editor_code_execution error: unavailable]"),
        (
            {
                "type": "tool_search_tool_result",
                "content": {"tool_references": [{"tool_name": "a"}, {"tool_name": "b"}]},
            },
            "[tools found: a, b]",
        ),
        (failed("tool_search_tool_result"), "[tool_search error: unavailable]"),
        ({"type": "advisor_tool_result", "content": {"text": "x"}}, "[advice]\nx"),
        (failed("advisor_tool_result"), "[advisor error: unavailable]"),
    ],
)
def test_text(block: dict[str, Any], said: str) -> None:
    assert read_content.server_block_text(block, block["type"], "p") == said + "\n"


def test_redacted_advice_is_left_out() -> None:
    redacted = {"type": "advisor_tool_result", "content": {"type": "advisor_redacted_result", "encrypted_content": "x"}}
    assert read_content.server_block_text(redacted, "advisor_tool_result", "p") == ""


def test_a_call_needs_name_and_input() -> None:
    with pytest.raises(Refused, match=r"p\.name: Field required"):
        read_content.server_block_text({}, "server_tool_use", "p")
