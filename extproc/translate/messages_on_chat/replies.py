"""Reads an upstream's answer in the form it came in, writes it in the form that was asked for."""

from typing import Protocol

import msgspec

from extproc.translate.messages_on_chat.answer import read_answer
from extproc.translate.messages_on_chat.answer_state import AnswerState
from extproc.translate.messages_on_chat.asked import Asked
from extproc.translate.messages_on_chat.errors import failure
from extproc.translate.messages_on_chat.sinks import EventSink, MessageSink, Sink
from extproc.translate.messages_on_chat.stream import MAX_ANSWER, ChatStream
from extproc.translate.pair import Outcome

_BOM = b"\xef\xbb\xbf"


class Reader(Protocol):
    def feed(self, data: bytes) -> bytes: ...
    def close(self) -> bytes: ...


class WholeBody:
    """JSON, or what ought to be."""

    def __init__(self, asked: Asked, sink: Sink, outcome: Outcome) -> None:
        self._asked = asked
        self._sink = sink
        self._outcome = outcome
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        if self._outcome.failure is not None:
            return b""
        self._pieces.append(data)
        self._size += len(data)
        if self._size > MAX_ANSWER:
            self._pieces.clear()
            self._outcome.failure = failure("the upstream's answer is too large", "answer_limit")
            self._sink.fail(self._outcome.failure)
        return self._sink.take()

    def close(self) -> bytes:
        if self._outcome.failure is not None or self._outcome.complete:
            return b""
        state = AnswerState(self._asked, self._sink, self._outcome)
        body = b"".join(self._pieces)
        self._pieces.clear()
        failed = read_answer(body, state, self._asked.profile)
        if failed is not None:
            self._outcome.failure = failed
            self._sink.fail(failed)
        return self._sink.take()


class MessagesReply:
    """The upstream's media type is a hint; what the body begins with decides."""

    def __init__(self, asked: Asked, content_type: str) -> None:
        self.outcome = Outcome()
        self._asked = asked
        self._says_events = content_type.partition(";")[0].strip().lower() == "text/event-stream"
        self._reader: Reader | None = None
        self._begin = b""
        self._sink: Sink = EventSink(ping_by_delta=asked.profile.ping == "delta") if asked.stream else MessageSink()

    def feed(self, data: bytes) -> bytes:
        if self._reader is None:
            data = self._begin + data
            # Some upstreams send blank lines while a client waits for JSON.
            visible = data.removeprefix(_BOM).lstrip()
            if not visible or _BOM.startswith(data):
                self._begin = data if _BOM.startswith(data) else b""
                return b""
            self._reader, data = self._reader_for(visible), visible
        return self._reader.feed(data)

    def close(self) -> bytes:
        if self._reader is None:
            self._reader = ChatStream(self._asked, self._sink, self.outcome) if self._says_events else self._whole()
        return self._reader.close()

    def ping(self) -> bytes:
        return self._sink.ping()

    def _reader_for(self, visible: bytes) -> Reader:
        begins_events = visible[:1] in b":deir" or (self._says_events and visible[:1] not in b"{[<")
        return ChatStream(self._asked, self._sink, self.outcome) if begins_events else self._whole()

    def _whole(self) -> WholeBody:
        if isinstance(self._sink, EventSink):
            self._sink.live = False
        return WholeBody(self._asked, self._sink, self.outcome)


def refusal_answer(asked: Asked, explanation: str) -> bytes:
    """A filtered prompt as the answer of a model that refuses."""
    reply = MessagesReply(asked, "application/json")
    choice = {"message": {"refusal": explanation}, "finish_reason": "content_filter"}
    reply.feed(msgspec.json.encode({"choices": [choice], "usage": {"prompt_tokens": 0}}))
    return reply.close()
