"""Helpers for tests of answers to Responses clients: events read back, and what they must be like."""

import json
from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from extproc.translate.pair import Reply
from extproc.translate.translated import TranslatedRequest
from tests.translate.answers import JSON, SSE, play
from tests.translate.chat_asking import target
from tests.translate.responses_client import MINIMAL, RESPONSES_ON_MESSAGES, ask

Json = dict[str, Any]
_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
_LAST = ("response.completed", "response.incomplete", "response.failed")
# Event -> the one that must have come before for the same item, and the one that closes it.
_DELTAS = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "text",
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
}


def asked(named: str | Json = "claude-adaptive", request: Json | None = None, **more: Any) -> TranslatedRequest:
    return ask({**(request or MINIMAL), **more}, target(named))


def events(raw: bytes) -> list[Json]:
    """Every event is named by its type, and its data is JSON."""
    assert raw == b"" or raw.endswith(b"\n\n")
    found = []
    for part in raw.decode().split("\n\n")[:-1]:
        if not part.startswith(":"):
            name, data = part.split("\n")
            found.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {found[-1]['type']}"
    return found


def run(*pieces: bytes, request: TranslatedRequest | None = None) -> tuple[Reply, list[Json]]:
    reply = RESPONSES_ON_MESSAGES.reply(request or asked(stream=True), SSE)
    return reply, events(play(reply, *pieces))


def whole(answer: Any, request: TranslatedRequest | None = None) -> tuple[Reply, Json]:
    reply = RESPONSES_ON_MESSAGES.reply(request or asked(), JSON)
    out = play(reply, json.dumps(answer).encode())
    return reply, json.loads(out) if out else {}


def check_types(found: list[Json]) -> None:
    """The SDK's own types; it sends a local shell's environment as it comes."""
    for event in found:
        _EVENT.validate_python(event)


def check_response(response: Json) -> None:
    Response.model_validate(response, strict=True)


def check_grammar(found: list[Json]) -> None:
    """What clients rely on: order, numbers, places, and that the end repeats what was said."""
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    if not found:
        return
    assert [event["type"] for event in found[:2]] == ["response.created", "response.in_progress"]
    assert [event["type"] in _LAST for event in found[2:]] == [False] * (len(found) - 3) + [True]
    items = _Items()
    for event in found[2:-1]:
        items.read(event)
    last = found[-1]["response"]
    done = [items.done[place] for place in sorted(items.done)]
    # The end of a call that was cut is not sent where its arguments could be taken for whole.
    cut = [item for item in last["output"] if item.get("status") == "incomplete" and item not in done]
    assert [item for item in last["output"] if item not in cut] == done
    assert items.done.keys() <= set(range(len(items.added)))
    if last["status"] != "failed":
        assert len(items.done) + len(cut) == len(items.added) and last["usage"]["total_tokens"] >= 0
        assert (last["status"] == "incomplete") is (last["incomplete_details"] is not None)
    assert (last["error"] is not None) is (last["status"] == "failed")
    assert {event["response"]["id"] for event in (found[0], found[1], found[-1])} == {last["id"]}


class _Items:
    def __init__(self) -> None:
        self.added: dict[int, Json] = {}
        self.done: dict[int, Json] = {}
        self._texts: dict[int, str] = {}

    def read(self, event: Json) -> None:
        place = event["output_index"]
        assert place not in self.done
        if event["type"] == "response.output_item.added":
            assert place == len(self.added)
            self.added[place] = event["item"]
            return
        assert place in self.added
        if event["type"] == "response.output_item.done":
            assert event["item"]["id"] == self.added[place]["id"] and event["item"]["type"] == self.added[place]["type"]
            assert _text(event["item"]) == self._texts.get(place, _text(event["item"]))
            self.done[place] = event["item"]
            return
        assert event["item_id"] == self.added[place]["id"]
        if event["type"] in _DELTAS:
            assert event["delta"]
            self._texts[place] = self._texts.get(place, "") + event["delta"]
        member = _DELTAS.get(event["type"].replace(".done", ".delta"))
        if event["type"].endswith(".done") and member is not None:
            assert event[member] == self._texts.get(place, "")


def _text(item: Json) -> str:
    match item["type"]:
        case "message":
            part = item["content"][0]
            return str(part.get("text", part.get("refusal")))
        case "reasoning":
            return "".join(part["text"] for part in item["summary"])
        case _:
            return str(item.get("arguments", item.get("input", "")))
