"""Chat -> Messages requests against the hand-derived vectors and what real clients send."""

import json
from pathlib import Path
from typing import Any

import pytest

from extproc.errors import Rejection
from extproc.translate.translated import TranslatedRequest
from extproc.wire.rejections import rejection_body, rejection_status
from tests.anthropic_types import check_messages_request
from tests.matching import same
from tests.translate.answers import vectors
from tests.translate.chat_asking import target, translate

TESTS = Path(__file__).parents[1]
REQUESTS = vectors("req_c2m", "chat_request->messages_request")
CAPTURED = [json.loads(path.read_text()) for path in sorted((TESTS / "corpus" / "openai-sdk").glob("*.json"))]
CHAT = [call["body"] for call in CAPTURED if call["path"] == "/v1/chat/completions"]


@pytest.mark.parametrize("vector", REQUESTS, ids=lambda v: f"{v['case']}-{v['name']}")
def test_vector(vector: dict[str, Any]) -> None:
    asked = translate(vector["input"], target(vector["profile"]))
    expected = vector["expected"]
    if "status" in expected:
        assert isinstance(asked, Rejection)
        assert rejection_status("chat", asked) == expected["status"]
        assert same(json.loads(rejection_body("chat", asked, "")), expected["body"]) == []
    else:
        assert isinstance(asked, TranslatedRequest), asked
        assert same(json.loads(asked.body), expected) == []
        if "temperature" not in expected:
            check_messages_request(json.loads(asked.body))
        assert sorted(asked.warnings) == sorted(vector["warnings"])


@pytest.mark.parametrize("body", CHAT, ids=[call["description"] for call in CAPTURED if call["body"] in CHAT])
@pytest.mark.parametrize("profile", ["claude-adaptive", "claude-always-thinking", "claude-extended"])
def test_captured(body: dict[str, Any], profile: str) -> None:
    asked = translate(body, target(profile))
    assert isinstance(asked, TranslatedRequest), asked
    sent = json.loads(asked.body)
    sampling = {name for name in ("temperature", "top_p", "top_k") if name in sent}
    assert not sampling or profile == "claude-extended"
    check_messages_request({name: value for name, value in sent.items() if name not in sampling})
    assert translate(body, target(profile)) == asked


def test_the_corpus_is_there() -> None:
    assert len(CHAT) == 8
