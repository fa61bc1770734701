"""`extproc translate` without a process of its own."""

import json
from pathlib import Path
from typing import Any

import pytest

from extproc.cli import dryrun
from extproc.wire import Dialect
from tests.translate.chat_answers import message, started
from tests.translate.responses_upstream import COMPLETED, CREATED, response, text

CONFIG = """
authentication: {mode: permissive}
providers:
  openai: {dialects: [responses], base_url: "https://api.openai.example/v1"}
  anthropic: {dialects: [messages], base_url: "https://api.anthropic.example"}
  bedrock:
    cloud: aws-bedrock
    region: eu-central-1
    dialects: [messages]
    auth: {aws: {keys: {access_key_id: {env: NOT_SET}, secret_access_key: {env: NOT_SET}}}}
models:
  - {name: claude-bedrock, provider: bedrock, model: eu.anthropic.claude-x}
  - {name: claude-real, provider: anthropic}
  - {name: claude-set, provider: openai, defaults: {temperature: 0.5}, overrides: {max_tokens: 50}}
  - {name: "claude-*", provider: openai, model: gpt-5}
"""
ASK = {"model": "claude-x", "max_tokens": 5, "messages": [{"role": "user", "content": "q"}]}


def run(folder: Path, what: str, data: Any, dialect: Dialect = "messages") -> int:
    config = folder / "gateway.yaml"
    config.write_text(CONFIG)
    model = None if what == "request" else "claude-real" if dialect == "responses" else "claude-x"
    options = dryrun.Options(config, what, model, dialect, None)
    return dryrun.run(options, data if isinstance(data, bytes) else json.dumps(data).encode())


def test_what_a_responses_provider_would_be_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "request", ASK) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["max_output_tokens"] == 16 and json.loads(out)["model"] == "gpt-5"
    assert err == "clamped:max_tokens\n"


def test_what_a_cloud_would_be_sent_without_its_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "request", {**ASK, "model": "claude-bedrock"}) == 0
    sent = json.loads(capsys.readouterr().out)
    assert (sent.get("model"), sent["anthropic_version"]) == (None, "bedrock-2023-05-31")


@pytest.mark.parametrize("dialect", ["messages", "responses"])
def test_what_the_configuration_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str], dialect: Dialect) -> None:
    asked = ASK if dialect == "messages" else {"input": "q", "max_output_tokens": 99}
    assert run(tmp_path, "request", {**asked, "model": "claude-set", "thinking": {"type": "disabled"}}, dialect) == 0
    sent = json.loads(capsys.readouterr().out)
    assert (sent["temperature"], sent["max_output_tokens"]) == (0.5, 50)


def test_what_a_client_would_get_of_its_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = {"type": "message", "content": [{"type": "output_text", "text": "a"}]}
    assert run(tmp_path, "answer", response(said)) == 0
    assert json.loads(capsys.readouterr().out)["content"] == [{"type": "text", "text": "a"}]
    assert run(tmp_path, "stream", CREATED + b"".join(text("a")) + COMPLETED) == 0
    assert '"text":"a"' in capsys.readouterr().out
    assert run(tmp_path, "stream", CREATED) == 1


def test_a_responses_client(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "request", {"model": "claude-real", "input": "q"}, "responses") == 0
    assert json.loads(capsys.readouterr().out)["messages"] == [{"role": "user", "content": "q"}]
    assert run(tmp_path, "answer", message({"type": "text", "text": "a"}), "responses") == 0
    assert json.loads(capsys.readouterr().out)["output"][0]["content"][0]["text"] == "a"
    assert run(tmp_path, "stream", started(), "responses") == 1
    assert "event: response.failed" in capsys.readouterr().out
