"""Fragments of a call that was closed already."""

import pytest

from tests.translate.answers import SSE, asked, check_grammar, chunk, events, messages_on_chat, play


def fragment(**function: str) -> bytes:
    return chunk({"tool_calls": [{"index": 0, "function": function}]})


@pytest.mark.parametrize("late", [{}, {"arguments": "{}"}, {"arguments": '{"b":2}'}, {"name": "g"}])
@pytest.mark.parametrize("named", [{}, {"name": "f"}])
def test_a_call_spoken_of_again_after_the_finish(named: dict[str, str], late: dict[str, str]) -> None:
    reply = messages_on_chat.reply(asked(stream=True), SSE)
    pieces = [fragment(**named, arguments='{"a":1}'), chunk({}, "tool_calls"), fragment(**late), b"data: [DONE]\n\n"]
    check_grammar(events(play(reply, *pieces)))
    assert reply.outcome.complete
