"""Messages events, read (mapping 4.7)."""

from typing import Any, Protocol

from extproc.errors import Reason, Rejection
from extproc.providers.profiles import Profile
from extproc.translate.event_stream import EventStream, Out, loads_or_none
from extproc.translate.failures import failure, truncated
from extproc.translate.on_messages.answer_state import AnswerState
from extproc.translate.on_messages.errors import reported
from extproc.translate.pair import Outcome
from extproc.wire import untrusted
from extproc.wire.lenient import decode
from extproc.wire.message_events import Event, Message

_decoder = untrusted.decoder(Event)


class Sink(Out, Protocol):
    def beat(self) -> None:
        """The upstream shows that it is alive."""
        ...


class MessagesStream(EventStream):
    def __init__(self, state: AnswerState, sink: Sink, outcome: Outcome, profile: Profile) -> None:
        super().__init__(sink, outcome, profile.max_event_bytes)
        self._profile = profile
        self._state = state
        self._sink = sink

    def _data(self, data: bytes, name: str) -> None:
        if name == "error":
            self._fail(self._reported(loads_or_none(data)))
            return
        event = decode(data, _decoder)
        kind = event.type or name
        if kind == "error" or event.error:
            self._fail(self._reported(loads_or_none(data)))
        elif kind == "content_block_delta":
            self._delta(event)
        else:
            self._other(kind, event)

    def _delta(self, event: Event) -> None:
        if event.delta is not None and not self._state.finished:
            self._begin(None)
            self._state.add(event.index or 0, event.delta)

    def _other(self, kind: str, event: Event) -> None:
        match kind:
            case "message_start":
                self._begin(event.message)
            case "content_block_start" if event.content_block is not None and not self._state.finished:
                self._begin(None)
                self._state.open(event.index or 0, event.content_block)
            case "content_block_stop":
                self._state.close(event.index or 0)
            case "message_delta":
                self._message_delta(event)
            case "message_stop":
                self._end()
            case "ping" if self._state.started:
                # Before that nothing may go out, so that a failure can still have its status.
                self._sink.beat()

    def _begin(self, message: Message | None) -> None:
        if message is not None or not self._state.started:
            self._state.start(message or Message())

    def _message_delta(self, event: Event) -> None:
        self._begin(None)
        self._state.use(event.usage)
        if event.delta is not None and event.delta.stop_reason:
            self._state.finish(event.delta.stop_reason, event.delta.stop_details)

    def _end(self) -> None:
        if not self._state.started:
            self._fail(failure("the upstream sent an empty answer", "empty_answer", Reason.TRUNCATED))
            return
        if not self._state.finished and self._state.is_cut:
            self._fail(truncated("upstream stream ended before completion"))
            return
        self._over = True
        self._state.finish(None, None)
        self._state.end()

    def _body_ended(self) -> None:
        tolerated = self._profile.on_truncated == "end_turn" and not self._state.in_call
        if self._state.finished or (self._state.started and tolerated):
            self._end()
        else:
            self._fail(truncated("upstream stream ended before completion"))

    def _measure(self) -> int:
        self._state.measure()
        return self._state.size

    def _warn(self, word: str) -> None:
        self._state.warn(word)

    def _reported(self, value: Any) -> Rejection:
        return reported(value, self._profile)
