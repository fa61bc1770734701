"""A conversation that the upstream itself compacts, where the profile says that it can."""

import json
from typing import Any

from anthropic.types.beta import BetaRawMessageStreamEvent
from pydantic import TypeAdapter

from extproc.translate.signature import seal, unseal
from tests.openai_types import check_responses_request
from tests.translate.answers import SSE, check_grammar, events, messages_on_responses, play
from tests.translate.asking import assistant, text, user
from tests.translate.responses_upstream import COMPLETED, CREATED, ask, done, response, sent, target, whole
from tests.translate.responses_upstream import text as said

COMPACTS = target(compaction=True)
EDIT = {"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": 50_000}}
DATA = {"id": "cmp_1", "encrypted_content": "ENC"}
ITEM = {"type": "compaction", **DATA}


def asked(*edits: dict[str, Any]) -> dict[str, Any]:
    return {"context_management": {"edits": list(edits)}}


def test_it_is_asked_for() -> None:
    body = sent(**asked(EDIT), to=COMPACTS)
    assert body["context_management"] == [{"type": "compaction", "compact_threshold": 50_000}]
    check_responses_request(body)
    assert sent(**asked({"type": "compact_20260112"}), to=COMPACTS)["context_management"] == [{"type": "compaction"}]
    assert ask(**asked(EDIT), to=COMPACTS).warnings == ()
    assert ask(**asked(EDIT | {"instructions": "x"}, {"type": "clear_thinking_20251015"}), to=COMPACTS).warnings == (
        "dropped:context_management.edits.0.instructions",
        "dropped:context_management",
    )


def test_its_item_is_a_block_that_brings_it_back() -> None:
    message = {"type": "message", "content": [{"type": "output_text", "text": "a"}]}
    found, outcome = whole(response(ITEM, message), ask(to=COMPACTS))
    block = found["content"][0]
    sealed = unseal(block["encrypted_content"])
    assert (block["type"], sealed and sealed.f, sealed and sealed.d) == ("compaction", "openai_responses", DATA)
    assert block["content"] and outcome.warnings == []
    history = [user(text("old")), assistant(block, text("a")), user(text("new"))]
    resumed = sent(messages=history, to=COMPACTS)
    check_responses_request(resumed)
    assert [item["type"] for item in resumed["input"]] == ["compaction", "message", "message"]
    assert resumed["input"][0] == ITEM and "old" not in json.dumps(resumed)


def test_in_a_stream() -> None:
    reply = messages_on_responses.reply(ask(stream=True, to=COMPACTS), SSE)
    found = events(play(reply, CREATED, done(0, **ITEM), *said("a", index=1), COMPLETED))
    check_grammar(found)
    for event in found:
        TypeAdapter(BetaRawMessageStreamEvent).validate_python(event)
    assert [e["content_block"]["type"] for e in found if "content_block" in e] == ["compaction", "text"]


def test_it_does_not_happen_unasked() -> None:
    found, outcome = whole(response(ITEM))
    assert (found["content"], outcome.warnings) == ([], ["dropped:compaction"])


def test_what_another_has_compacted_is_told_in_its_words() -> None:
    for envelope in (None, "x", seal("reasoning", DATA), seal("openai_responses", {"id": "cmp_1"})):
        block = {"type": "compaction", "content": "summary", "encrypted_content": envelope}
        [first, _] = sent(messages=[user(text("old")), assistant(block, text("a"))], to=target(prefill="pass"))["input"]
        told = "[Summary of the earlier conversation]\nsummary"
        assert first["content"] == [{"type": "input_text", "text": told}]
