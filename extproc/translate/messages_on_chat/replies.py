"""Answers of a Chat upstream for a Messages client."""

import msgspec

from extproc.errors import Rejection
from extproc.translate.for_messages.asked import Asked
from extproc.translate.for_messages.sinks import EventSink, MessageSink, Sink
from extproc.translate.messages_on_chat.answer import read_answer
from extproc.translate.messages_on_chat.answer_state import AnswerState
from extproc.translate.messages_on_chat.stream import ChatStream
from extproc.translate.sniff import Reader
from extproc.translate.translated_reply import TranslatedReply


class MessagesReply(TranslatedReply):
    def __init__(self, asked: Asked, content_type: str) -> None:
        self._asked = asked
        self._sink: Sink = EventSink(ping_by_delta=asked.profile.ping == "delta") if asked.stream else MessageSink()
        super().__init__(content_type, self._sink)

    def _events(self) -> Reader:
        return ChatStream(self._asked, self._sink, self.outcome)

    def _whole(self) -> Reader:
        if isinstance(self._sink, EventSink):
            self._sink.live = False
        return super()._whole()

    def _answer(self, body: bytes) -> Rejection | None:
        return read_answer(body, AnswerState(self._asked, self._sink, self.outcome), self._asked.profile)


def refusal_answer(asked: Asked, explanation: str) -> bytes:
    """A filtered prompt as the answer of a model that refuses."""
    reply = MessagesReply(asked, "application/json")
    choice = {"message": {"refusal": explanation}, "finish_reason": "content_filter"}
    reply.feed(msgspec.json.encode({"choices": [choice], "usage": {"prompt_tokens": 0}}))
    return reply.close()
