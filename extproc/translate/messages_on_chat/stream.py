"""chat.completion.chunk events as a Messages answer (mapping 3).

Two ways out: complete, or failed. Nothing follows either.
"""

from typing import Any

from extproc.errors import Reason, Rejection
from extproc.translate.event_stream import EventStream, loads_or_none
from extproc.translate.failures import failure
from extproc.translate.for_messages.asked import Asked
from extproc.translate.for_messages.block_queue import Overfull
from extproc.translate.for_messages.sinks import Sink
from extproc.translate.messages_on_chat.answer_state import AnswerState
from extproc.translate.messages_on_chat.finish import choice_failure
from extproc.translate.openai_upstream.errors import reported
from extproc.translate.pair import Outcome
from extproc.wire import untrusted
from extproc.wire.chat import Choice, Completion
from extproc.wire.lenient import decode, loads
from extproc.wire.sse import SseEvent

_decoder = untrusted.decoder(Completion)


class ChatStream(EventStream):
    """Bytes of an upstream's event stream into a sink."""

    def __init__(self, asked: Asked, sink: Sink, outcome: Outcome) -> None:
        super().__init__(sink, outcome, asked.profile.max_event_bytes)
        self._asked = asked
        self._state = AnswerState(asked, sink, outcome)
        self._settled = False
        """The usage came with the finish or after it, so it is the last."""

    def _read(self, events: list[SseEvent]) -> None:
        try:
            super()._read(events)
        except Overfull:
            self._fail(failure("the upstream's tool calls could not be put in order", "queue_limit"))

    def _measure(self) -> int:
        self._state.account.measure()
        return self._state.account.size

    def _warn(self, word: str) -> None:
        self._state.warn(word)

    def _reported(self, value: Any) -> Rejection:
        return reported(value, self._asked.profile)

    def _data(self, data: bytes, name: str) -> None:
        if data.startswith(b"[DONE]"):
            self._end()
            return
        if name == "error":
            self._fail(self._reported(loads_or_none(data)))
            return
        chunk = decode(data, _decoder)
        if chunk.error or chunk.object == "error":
            self._fail(self._reported(loads(data)))
            return
        self._chunk(chunk)

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
