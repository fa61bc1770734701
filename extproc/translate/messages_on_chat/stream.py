"""chat.completion.chunk events as a Messages answer (mapping 3).

Two ways out: complete, or failed. Nothing follows either.
"""

from typing import Any

import msgspec

from extproc.errors import Reason, Rejection
from extproc.translate.messages_on_chat.answer_state import AnswerState
from extproc.translate.messages_on_chat.asked import Asked
from extproc.translate.messages_on_chat.block_queue import Overfull
from extproc.translate.messages_on_chat.errors import choice_failure, failure, reported
from extproc.translate.messages_on_chat.sinks import Sink
from extproc.translate.pair import Outcome
from extproc.wire.chat import Choice, Completion
from extproc.wire.lenient import Undecodable, decode, loads
from extproc.wire.sse import SseDecoder, SseEvent, SseKind

MAX_ANSWER = 32 * 1024 * 1024
_decoder = msgspec.json.Decoder(Completion)


class ChatStream:
    """Bytes of an upstream's event stream into a sink."""

    def __init__(self, asked: Asked, sink: Sink, outcome: Outcome) -> None:
        self._asked = asked
        self._sink = sink
        self._outcome = outcome
        self._sse = SseDecoder(asked.profile.max_event_bytes)
        self._state = AnswerState(asked, sink, outcome)
        self._over = False
        self._unreadable = False
        """The last data could not be read."""
        self._settled = False
        """The usage came with the finish or after it, so it is the last."""

    def feed(self, data: bytes) -> bytes:
        if not self._over:
            self._read(self._sse.feed(data))
        return self._sink.take()

    def close(self) -> bytes:
        if not self._over:
            self._read(self._sse.close())
        if not self._over:
            self._body_ended()
        return self._sink.take()

    def _read(self, events: list[SseEvent]) -> None:
        try:
            for event in events:
                if self._over:
                    return
                self._event(event)
        except Overfull:
            self._fail(failure("the upstream's tool calls could not be put in order", "queue_limit"))
            return
        self._state.measure()
        if self._state.size > MAX_ANSWER and not self._over:
            self._fail(failure("the upstream's answer is too large", "answer_limit"))

    def _event(self, event: SseEvent) -> None:
        match event.kind:
            case SseKind.COMMENT:
                return
            case SseKind.OVERFLOW:
                self._fail(failure("an event of the upstream's stream is too large", "event_limit"))
            case SseKind.EVENT:
                self._data(event.data, event.name)

    def _data(self, data: bytes, name: str) -> None:
        if data.startswith(b"[DONE]"):
            self._end()
            return
        try:
            if name == "error":
                self._fail(reported(_loads_or_none(data), self._asked.profile))
                return
            chunk = decode(data, _decoder)
        except Undecodable:
            self._skip(data)
            return
        self._unreadable = False
        if chunk.error or chunk.object == "error":
            self._fail(reported(loads(data), self._asked.profile))
            return
        self._chunk(chunk)

    def _skip(self, data: bytes) -> None:
        if self._unreadable:
            self._fail(failure("the upstream's stream cannot be read", "unreadable_stream"))
            return
        if data[:1] == b"[" and (error := _listed_error(data)) is not None:
            self._fail(reported(error, self._asked.profile))
            return
        self._unreadable = True
        self._state.warn("unreadable_chunk")

    def _chunk(self, chunk: Completion) -> None:
        choices = chunk.choices or ()
        if not choices and not chunk.id and not chunk.usage:
            return
        for choice in choices:
            if not choice.index and (failed := choice_failure(choice, self._asked.profile)):
                self._fail(failed)
                return
        if not self._state.started:
            self._state.start(chunk)
        self._state.use(chunk.usage)
        for choice in choices:
            if not choice.index:
                self._choice(choice)
        self._settled = self._settled or bool(chunk.usage and self._state.finish)
        if self._settled:
            self._end()

    def _choice(self, choice: Choice) -> None:
        if choice.delta is not None:
            self._state.hear(choice.delta)
        if choice.finish_reason:
            self._state.match(choice)
            self._state.finish_with(choice.finish_reason)

    def _body_ended(self) -> None:
        ended = self._state.finish or self._state.stopped
        if self._state.started and (ended or self._asked.profile.on_truncated == "end_turn"):
            self._end()
            return
        self._fail(failure("upstream stream ended before completion", "truncated", Reason.TRUNCATED))

    def _end(self) -> None:
        if not self._state.started:
            self._fail(failure("the upstream sent an empty answer", "empty_answer", Reason.TRUNCATED))
            return
        self._over = True
        self._state.end()

    def _fail(self, rejection: Rejection) -> None:
        self._over = True
        self._state.measure()
        self._outcome.failure = rejection
        self._sink.fail(rejection)


def _loads_or_none(data: bytes) -> Any:
    try:
        return loads(data)
    except Undecodable:
        return None


def _listed_error(data: bytes) -> Any:
    """Gemini's errors come in a list of one."""
    value = _loads_or_none(data)
    first = value[0] if isinstance(value, list) and value else None
    return first if isinstance(first, dict) and first.get("error") else None
