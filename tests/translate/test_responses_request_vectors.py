"""Responses -> Messages requests: cases derived from the rules (C228, C243, C267), and what real clients send."""

import json
from pathlib import Path
from typing import Any

import pytest

from extproc.errors import Rejection
from extproc.wire.rejections import rejection_body, rejection_status
from tests.anthropic_types import check_messages_request
from tests.matching import same
from tests.translate.answers import vectors
from tests.translate.chat_asking import target
from tests.translate.responses_client import ask, translate

CORPUS = Path(__file__).parents[1] / "corpus" / "openai-sdk"
CAPTURED = [json.loads(path.read_text()) for path in sorted(CORPUS.glob("*.json"))]
REQUESTS = vectors("derived_r2m", "responses_request->messages_request")
RESPONSES = [call for call in CAPTURED if call["path"] == "/v1/responses"]


@pytest.mark.parametrize("vector", REQUESTS, ids=lambda v: f"{v['case']}-{v['name']}")
def test_vector(vector: dict[str, Any]) -> None:
    found = translate(vector["input"], target(vector["profile"]))
    expected = vector["expected"]
    if isinstance(found, Rejection):
        assert rejection_status("responses", found) == expected["status"]
        assert same(json.loads(rejection_body("responses", found, "")), expected["body"]) == []
        return
    assert same(json.loads(found.body), expected) == []
    check_messages_request(json.loads(found.body))
    assert sorted(found.warnings) == sorted(vector["warnings"])


@pytest.mark.parametrize("call", RESPONSES, ids=lambda call: call["description"])
@pytest.mark.parametrize("profile", ["claude-adaptive", "claude-always-thinking", "claude-extended"])
def test_captured(call: dict[str, Any], profile: str) -> None:
    asked = ask(call["body"], target(profile))
    sent = json.loads(asked.body)
    check_messages_request(sent)
    assert translate(call["body"], target(profile)) == asked
    assert set(asked.warnings) <= {"dropped:tools.8"}, "but for the web search of Codex nothing is lost"


def test_the_corpus_is_there() -> None:
    assert (len(RESPONSES), len(REQUESTS)) == (2, 9)
