"""Tokens of a Responses request, counted by Claude."""

import json
from typing import Any

import pytest

from extproc.translate.count import input_tokens_on_messages
from extproc.translate.pair import Translated
from tests.translate.answers import JSON, SSE, play
from tests.translate.chat_asking import target
from tests.translate.responses_client import body, function


def asked(**members: Any) -> Translated:
    found = input_tokens_on_messages.request(body(**members), target())
    assert isinstance(found, Translated), found
    return found


def counted(said: bytes, media: str) -> tuple[bytes, Any]:
    reply = input_tokens_on_messages.reply(asked(), media)
    return play(reply, said), reply.outcome


def test_claude_is_told_what_it_can_count() -> None:
    found = asked(instructions="S", tools=[function()], reasoning={"effort": "high"}, temperature=1, user="u")
    assert found.path == "/v1/messages/count_tokens"
    kept = {"model", "system", "messages", "tools", "thinking", "output_config"}
    assert json.loads(found.body).keys() == kept


@pytest.mark.parametrize("media", [JSON, SSE, ""])
def test_the_count(media: str) -> None:
    out, outcome = counted(b'{"input_tokens": 7}', media)
    assert json.loads(out) == {"object": "response.input_tokens", "input_tokens": 7}
    assert (outcome.complete, outcome.usage.input_tokens) == (True, 7)


@pytest.mark.parametrize("said", [b"", b"{}", b"[]", b"<html>", b'{"input_tokens": null}'])
def test_what_is_no_count(said: bytes) -> None:
    out, outcome = counted(said, JSON)
    assert (out, outcome.complete, outcome.failure.http_status) == (b"", False, 502)
