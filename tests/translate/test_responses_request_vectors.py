"""Responses -> Messages requests that real clients send."""

import json
from pathlib import Path
from typing import Any

import pytest

from extproc.translate.responses_on_messages.request import translate
from tests.anthropic_types import check_messages_request
from tests.translate.chat_asking import target
from tests.translate.responses_client import ask

CORPUS = Path(__file__).parents[1] / "corpus" / "openai-sdk"
CAPTURED = [json.loads(path.read_text()) for path in sorted(CORPUS.glob("*.json"))]
RESPONSES = [call for call in CAPTURED if call["path"] == "/v1/responses"]


@pytest.mark.parametrize("call", RESPONSES, ids=lambda call: call["description"])
@pytest.mark.parametrize("profile", ["claude-adaptive", "claude-always-thinking", "claude-extended"])
def test_captured(call: dict[str, Any], profile: str) -> None:
    asked = ask(call["body"], target(profile))
    sent = json.loads(asked.body)
    check_messages_request(sent)
    assert translate(call["body"], target(profile)) == asked
    assert set(asked.warnings) <= {"dropped:tools.8"}, "but for the web search of Codex nothing is lost"


def test_the_corpus_is_there() -> None:
    assert len(RESPONSES) == 2
