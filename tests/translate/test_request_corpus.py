"""Every captured request of real clients: translated, or refused for a reason the mapping names."""

import json
from pathlib import Path
from typing import Any

import pytest

from extproc.errors import Rejection
from extproc.providers.profiles import shipped
from extproc.translate.count import COUNTERS, estimate
from extproc.translate.pair import Target, Translated
from extproc.translate.translated import TranslatedRequest
from tests.openai_types import check_chat_request, check_input_tokens_request, check_responses_request
from tests.translate.answers import messages_on_chat, messages_on_responses

CORPUS = Path(__file__).parents[1] / "corpus"
FOLDERS = ("claude-code-2.1.197", "claude-code-2.1.330", "anthropic-sdk")
REFUSED = {
    "026-websearch-server-tool": "tool_choice.name: server tool 'web_search' cannot run with this model",
    "012-py2-tool-runner-thread-create": "thread: threads are not supported",
    "013-py2-tool-runner-thread-continue": "thread: threads are not supported",
    "015-py2-tool-runner-replay": "thread: threads are not supported",
}


def captured(operation: str) -> list[Any]:
    found = []
    for path in sorted(file for folder in FOLDERS for file in (CORPUS / folder).glob("*.json")):
        call = json.loads(path.read_text())
        if call["method"] == "POST" and call["path"].partition("?")[0] == operation:
            found.append(pytest.param(path.stem, call["body"], id=f"{path.parent.name}-{path.stem}"))
    return found


def target(profile: str = "openai-chat") -> Target:
    return Target(profile=shipped()[profile], model="gpt-4o", nonce="n")


@pytest.mark.parametrize(("name", "body"), captured("/v1/messages"))
@pytest.mark.parametrize("profile", ["openai-chat", "openai-reasoning"])
def test_generate(name: str, body: dict[str, Any], profile: str) -> None:
    asked = messages_on_chat.request(body, target(profile))
    if name in REFUSED:
        assert isinstance(asked, Rejection)
        assert asked.message.startswith(REFUSED[name])
        return
    assert isinstance(asked, TranslatedRequest), asked
    check_chat_request(json.loads(asked.body))
    assert messages_on_chat.request(body, target(profile)) == asked


@pytest.mark.parametrize(("name", "body"), captured("/v1/messages"))
@pytest.mark.parametrize("profile", ["openai-responses", "openai-responses-plain"])
def test_generate_by_responses(name: str, body: dict[str, Any], profile: str) -> None:
    asked = messages_on_responses.request(body, target(profile))
    if name in REFUSED:
        assert isinstance(asked, Rejection)
        assert asked.message.startswith(REFUSED[name])
        return
    assert isinstance(asked, TranslatedRequest), asked
    check_responses_request(json.loads(asked.body))
    assert messages_on_responses.request(body, target(profile)) == asked


@pytest.mark.parametrize(("name", "body"), captured("/v1/messages"))
@pytest.mark.parametrize("profile", ["vllm", "ollama", "deepseek", "mistral", "openrouter", "gemini"])
def test_other_upstreams(name: str, body: dict[str, Any], profile: str) -> None:
    asked = messages_on_chat.request(body, target(profile))
    if name not in REFUSED and isinstance(asked, Rejection):
        assert "takes no PDF" in asked.message


@pytest.mark.parametrize(("name", "body"), captured("/v1/messages/count_tokens") + captured("/v1/messages"))
@pytest.mark.parametrize("strategy", ["responses", "vllm"])
def test_count_upstream(name: str, body: dict[str, Any], strategy: str) -> None:
    asked = COUNTERS[strategy].request(body, target())
    assert isinstance(asked, Rejection) == (name in REFUSED)
    if isinstance(asked, Translated) and strategy == "responses":
        check_input_tokens_request(json.loads(asked.body))


@pytest.mark.parametrize(("name", "body"), captured("/v1/messages/count_tokens") + captured("/v1/messages"))
def test_count(name: str, body: dict[str, Any]) -> None:
    counted = estimate(body, target())
    if name in REFUSED:
        assert isinstance(counted, Rejection)
        return
    assert isinstance(counted, int)
    assert 0 < counted < len(json.dumps(body)) / 3 + 2000
