"""The events of a response as a Messages answer (mapping 6.4).

Two ways out: complete, or failed. Nothing follows either.
"""

from typing import Any

from extproc.errors import Reason, Rejection
from extproc.translate.event_stream import EventStream, loads_or_none
from extproc.translate.failures import failure
from extproc.translate.for_messages.asked import Asked
from extproc.translate.for_messages.block_queue import Overfull
from extproc.translate.for_messages.sinks import Sink
from extproc.translate.messages_on_responses import errors
from extproc.translate.messages_on_responses.answer_state import AnswerState
from extproc.translate.pair import Outcome
from extproc.wire import untrusted
from extproc.wire.lenient import decode, loads
from extproc.wire.responses import Event, Response
from extproc.wire.sse import SseEvent

_decoder = untrusted.decoder(Event)

# Event -> the kind of item it speaks of; an upstream may have left out the event that adds the item.
_DELTAS = {
    "response.output_text.delta": "message",
    "response.refusal.delta": "message",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning_text.delta": "reasoning",
    "response.function_call_arguments.delta": "function_call",
    "response.custom_tool_call_input.delta": "custom_tool_call",
}
_PARTS_DONE = {
    "response.output_text.done": "message",
    "response.refusal.done": "message",
    "response.function_call_arguments.done": "function_call",
    "response.custom_tool_call_input.done": "custom_tool_call",
}
_ENDS = {"response.completed": "completed", "response.incomplete": "incomplete"}


class ResponsesStream(EventStream):
    """Bytes of an upstream's event stream into a sink."""

    def __init__(self, asked: Asked, sink: Sink, outcome: Outcome) -> None:
        super().__init__(sink, outcome, asked.profile.max_event_bytes)
        self._profile = asked.profile
        self._state = AnswerState(asked, sink, outcome)

    def _read(self, events: list[SseEvent]) -> None:
        try:
            super()._read(events)
        except Overfull:
            self._fail(failure("the upstream's answer could not be put in order", "queue_limit"))

    def _measure(self) -> int:
        self._state.account.measure()
        return self._state.account.size

    def _warn(self, word: str) -> None:
        self._state.account.warn(word)

    def _reported(self, value: Any) -> Rejection:
        return errors.spoken(value, self._profile)

    def _data(self, data: bytes, name: str) -> None:
        if data.startswith(b"[DONE]"):
            return
        if name == "error":
            self._fail(self._reported(loads_or_none(data)))
            return
        event = decode(data, _decoder)
        if event.type == "error" or (event.error and not event.type):
            self._fail(self._reported(loads(data)))
        else:
            self._event_of(event.type or "", event)

    def _event_of(self, kind: str, event: Event) -> None:
        """Types that are not named here say nothing to the client."""
        if kind in _DELTAS:
            self._started().delta(event, _DELTAS[kind])
        elif kind in _PARTS_DONE:
            self._started().part_done(event, _PARTS_DONE[kind])
        elif kind == "response.output_item.added":
            self._started().begun(event)
        elif kind == "response.output_item.done":
            self._started().done(event)
        elif kind == "response.created":
            self._started(event.response)
        elif kind in _ENDS:
            self._end(event.response or Response(), _ENDS[kind])
        elif kind == "response.failed":
            self._failed(event.response or Response())

    def _started(self, response: Response | None = None) -> AnswerState:
        if not self._state.account.started:
            self._state.start(response or Response())
        return self._state

    def _end(self, response: Response, status: str) -> None:
        self._over = True
        self._started(response).end(response, status)

    def _failed(self, response: Response) -> None:
        ending = errors.refusal(response)
        if ending is None:
            self._state.use(response)
            self._fail(errors.failed(response, self._profile))
        else:
            self._over = True
            self._started(response).refuse(response, ending)

    def _body_ended(self) -> None:
        ended = self._state.stopped or self._profile.on_truncated == "end_turn"
        if self._state.account.started and ended:
            self._end(Response(), "completed")
        else:
            self._fail(failure("upstream stream ended before completion", "truncated", Reason.TRUNCATED))
