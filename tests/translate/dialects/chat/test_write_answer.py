"""An answer for a Chat client, from events of any provider (docs/mapping.md 4.6)."""

import json
from typing import Any

from extproc.providers.profiles import shipped
from extproc.translate.answer_events import (
    AnswerEvent,
    AnswerFinished,
    AnswerStarted,
    CallEnded,
    CallStarted,
    Citations,
    TextDelta,
    TextEnded,
)
from extproc.translate.dialects.chat.write_answer import ChatWriter
from extproc.translate.dialects.registry import PAIRS
from extproc.translate.pair import Target, Translated
from extproc.translate.translated import TranslatedRequest

Json = dict[str, Any]
FOUND = {"start_index": 0, "end_index": 2, "title": "t", "url": "u"}


def message(*events: AnswerEvent) -> Json:
    body = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
    target = Target(profile=shipped()["openai-responses"], model="m", nonce="n", now=1.5)
    request = PAIRS["chat", "responses"].request(body, target)
    assert isinstance(request, Translated) and isinstance(request, TranslatedRequest)
    writer = ChatWriter(request)
    for event in (AnswerStarted("1", "m"), *events, AnswerFinished("stop")):
        writer.write(event)
    found = json.loads(writer.take())["choices"][0]["message"]
    assert isinstance(found, dict)
    return found


def test_citations_of_a_later_part_count_from_the_begin_of_the_message() -> None:
    part: list[AnswerEvent] = [TextDelta("ab"), Citations((FOUND,)), TextEnded()]
    places = [each["url_citation"]["start_index"] for each in message(*part, *part)["annotations"]]
    assert places == [0, 2]


def test_places_that_are_no_numbers_stay_as_they_are() -> None:
    odd = {"start_index": None, "url": "u"}
    found = message(TextDelta("ab"), TextEnded(), TextDelta("c"), Citations((odd,)), TextEnded())
    assert found["annotations"] == [{"type": "url_citation", "url_citation": odd}]


def test_arguments_that_were_withheld_reach_no_client_of_chat() -> None:
    found = message(CallStarted("c", "f"), CallEnded(cut=True, withheld='{"a":1}'))
    assert "tool_calls" not in found
