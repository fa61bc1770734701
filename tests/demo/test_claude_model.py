"""The demo Claude as Anthropic's own SDK meets it."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import msgspec
import pytest

from extproc.demo import claude_model

KEY = "demo-key"
WEATHER: Any = {"name": "get_weather", "input_schema": {"type": "object"}}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("claude") / "record.jsonl"


@pytest.fixture(scope="module")
def url(record: Path) -> Iterator[str]:
    with claude_model.running(key=KEY, record=record) as url:
        yield url


@pytest.fixture(scope="module")
def sdk(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0) as sdk:
        yield sdk


def asked(text: str) -> Any:
    return {"model": "claude-x", "max_tokens": 2000, "messages": [{"role": "user", "content": text}]}


def test_create(sdk: anthropic.Anthropic, record: Path) -> None:
    answer = sdk.messages.with_raw_response.create(**asked("hi"))
    message = answer.parse()
    assert message.content[0].type == "text" and message.stop_reason == "end_turn"
    assert answer.headers["request-id"].startswith("req_")
    assert answer.headers["anthropic-ratelimit-requests-remaining"]
    last = msgspec.json.decode(record.read_bytes().splitlines()[-1])
    assert (last["method"], last["path"].partition("?")[0]) == ("POST", "/v1/messages")


def test_stream(sdk: anthropic.Anthropic) -> None:
    script = 'demo: think let me see\ndemo: say look\ndemo: call get_weather {"city": "Zürich"}'
    budget: Any = {"type": "enabled", "budget_tokens": 1024}
    with sdk.messages.stream(**asked(script), tools=[WEATHER], thinking=budget) as stream:
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    assert message.content[2].type == "tool_use" and message.content[2].input == {"city": "Zürich"}
    assert message.usage.output_tokens > 1


def test_errors(sdk: anthropic.Anthropic, url: str) -> None:
    with pytest.raises(anthropic.InternalServerError) as overloaded:
        sdk.messages.create(**asked("demo: fail 529"))
    assert overloaded.value.status_code == 529
    with (
        pytest.raises(anthropic.APIStatusError, match="overloaded"),
        sdk.messages.stream(**asked("demo: say a long enough story\ndemo: break 529")) as stream,
    ):
        stream.get_final_message()
    with pytest.raises(anthropic.AuthenticationError):
        anthropic.Anthropic(base_url=url, api_key="no", max_retries=0).messages.create(**asked("hi"))
    with pytest.raises(anthropic.BadRequestError, match="max_tokens: Input should be greater"):
        sdk.messages.create(**{**asked("hi"), "max_tokens": 0})


def test_models_and_counting(sdk: anthropic.Anthropic) -> None:
    assert [entry.id for entry in sdk.models.list(limit=1)][-1] == "demo-claude"
    assert sdk.models.retrieve("demo-claude").display_name == "demo-claude"
    counted = sdk.messages.count_tokens(model="claude-x", messages=asked("hi")["messages"])
    assert counted.input_tokens > 1


def test_bytes_that_are_no_request(url: str) -> None:
    with socket.create_connection((httpx.URL(url).host, httpx.URL(url).port or 0), timeout=5) as connection:
        connection.sendall(b"GET\r\n\r\n")
        assert b'"type":"invalid_request_error"' in connection.makefile("rb").read()


def test_the_command(tmp_path: Path) -> None:
    ready = tmp_path / "address"
    command = [sys.executable, "-m", "extproc.demo.claude_model", "--port", "0", "--ready-file", str(ready)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first == f"demo model: {ready.read_text().strip()}\n" and "/v1" not in first
        finally:
            process.terminate()
