"""Reads an upstream's answer in the form it came in, writes it in the form that was asked for."""

import msgspec

from extproc.errors import Rejection
from extproc.translate.failures import failure
from extproc.translate.messages_on_chat.answer import read_answer
from extproc.translate.messages_on_chat.answer_state import AnswerState
from extproc.translate.messages_on_chat.asked import Asked
from extproc.translate.messages_on_chat.sinks import EventSink, MessageSink, Sink
from extproc.translate.messages_on_chat.stream import ChatStream
from extproc.translate.pair import Outcome
from extproc.translate.sniff import Collected, Reader, Sniffer


class MessagesReply:
    def __init__(self, asked: Asked, content_type: str) -> None:
        self.outcome = Outcome()
        self._asked = asked
        self._sink: Sink = EventSink(ping_by_delta=asked.profile.ping == "delta") if asked.stream else MessageSink()
        self._reader = Sniffer(content_type, self._events, self._whole)

    def feed(self, data: bytes) -> bytes:
        return self._reader.feed(data)

    def close(self) -> bytes:
        return self._reader.close()

    def ping(self) -> bytes:
        return self._sink.ping()

    def _events(self) -> Reader:
        return ChatStream(self._asked, self._sink, self.outcome)

    def _whole(self) -> Reader:
        if isinstance(self._sink, EventSink):
            self._sink.live = False
        return Collected(self._read, self._too_large)

    def _read(self, body: bytes) -> bytes:
        failed = read_answer(body, AnswerState(self._asked, self._sink, self.outcome), self._asked.profile)
        return self._sink.take() if failed is None else self._fail(failed)

    def _too_large(self) -> bytes:
        return self._fail(failure("the upstream's answer is too large", "answer_limit"))

    def _fail(self, rejection: Rejection) -> bytes:
        self.outcome.failure = rejection
        self._sink.fail(rejection)
        return self._sink.take()


def refusal_answer(asked: Asked, explanation: str) -> bytes:
    """A filtered prompt as the answer of a model that refuses."""
    reply = MessagesReply(asked, "application/json")
    choice = {"message": {"refusal": explanation}, "finish_reason": "content_filter"}
    reply.feed(msgspec.json.encode({"choices": [choice], "usage": {"prompt_tokens": 0}}))
    return reply.close()
