"""Reads an upstream's answer in the form it came in, writes it in the form that was asked for."""

from extproc.errors import Rejection
from extproc.translate.chat_on_messages.answer import read_answer
from extproc.translate.chat_on_messages.answer_state import AnswerState
from extproc.translate.chat_on_messages.asked import Asked
from extproc.translate.chat_on_messages.sinks import ChunkSink, CompletionSink, Sink
from extproc.translate.chat_on_messages.stream import MessagesStream
from extproc.translate.failures import failure
from extproc.translate.pair import Outcome
from extproc.translate.sniff import Collected, Reader, Sniffer


class ChatReply:
    def __init__(self, asked: Asked, content_type: str) -> None:
        self.outcome = Outcome()
        self._asked = asked
        self._sink: Sink = (
            ChunkSink(include_usage=asked.include_usage, legacy=asked.legacy)
            if asked.stream
            else CompletionSink(legacy=asked.legacy)
        )
        self._reader = Sniffer(content_type, self._events, self._whole)

    def feed(self, data: bytes) -> bytes:
        return self._reader.feed(data)

    def close(self) -> bytes:
        return self._reader.close()

    def ping(self) -> bytes:
        return self._sink.ping()

    def _events(self) -> Reader:
        return MessagesStream(self._asked, self._sink, self.outcome)

    def _whole(self) -> Reader:
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
