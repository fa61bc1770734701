"""A Messages provider's answer, whole or as events (docs/mapping.md 4.6, 4.7)."""

from typing import Any

from extproc.errors import Reason, Rejection
from extproc.translate.answer_body import SseReader, loads_or_none
from extproc.translate.answer_events import AnswerEvent, AnswerFailed, Keepalive
from extproc.translate.dialects.messages import errors
from extproc.translate.dialects.messages.read_blocks import AnswerState
from extproc.translate.part_queue import QueueOverflow
from extproc.translate.provider_error import failure, truncated
from extproc.translate.translated import TranslatedRequest
from extproc.wire import untrusted
from extproc.wire.lenient import Undecodable, decode, loads
from extproc.wire.message_events import Event, Message

_TRUNCATED = "upstream stream ended before completion"
_messages = untrusted.decoder(Message)
_events = untrusted.decoder(Event)


def read_whole(body: bytes, request: TranslatedRequest) -> list[AnswerEvent]:
    """A JSON answer of status 200."""
    if not body.strip():
        return [AnswerFailed(_empty())]
    try:
        message = decode(body, _messages)
    except Undecodable:
        return [AnswerFailed(failure("the upstream's answer cannot be read", "unreadable_answer"))]
    if message.type == "error" or message.error:
        return [AnswerFailed(errors.in_answer(loads(body), request.profile))]
    if message.content is None:
        return [AnswerFailed(failure("the upstream's answer cannot be read", "no_message"))]
    try:
        return _read_message(message, AnswerState(request))
    except QueueOverflow:
        return [AnswerFailed(_too_large())]


def _read_message(message: Message, state: AnswerState) -> list[AnswerEvent]:
    state.start(message)
    for index, block in enumerate(message.content or ()):
        state.open(index, block)
        state.close(index)
    state.use(message.usage, is_last=True)
    state.finish(message.stop_reason, message.stop_details)
    return state.end()


class StreamReader(SseReader):
    def __init__(self, request: TranslatedRequest) -> None:
        super().__init__(request.profile.max_event_bytes)
        self._profile = request.profile
        self._state = AnswerState(request)

    def rejection_of(self, value: Any) -> Rejection:
        return errors.in_answer(value, self._profile)

    def read_event(self, data: bytes, name: str) -> list[AnswerEvent]:
        if name == "error":
            return [AnswerFailed(self.rejection_of(loads_or_none(data)))]
        event = decode(data, _events)
        kind = event.type or name
        if kind == "error" or event.error:
            return [AnswerFailed(self.rejection_of(loads_or_none(data)))]
        try:
            return self._event(kind, event)
        except QueueOverflow:
            return [AnswerFailed(_too_large())]

    def _event(self, kind: str, event: Event) -> list[AnswerEvent]:
        state, index = self._state, event.index or 0
        match kind:
            case "content_block_delta" if event.delta is not None:
                self._begin()
                state.add(index, event.delta)
            case "content_block_start" if event.content_block is not None:
                self._begin()
                state.open(index, event.content_block)
            case "content_block_stop":
                state.close(index)
            case "message_start":
                message = event.message or Message()
                state.start(message)
                state.use(message.usage, is_last=False)
            case "message_delta":
                self._begin()
                self._message_delta(event)
            case "message_stop":
                return self._end()
            case "ping" if state.is_started:
                return [Keepalive()]
        return state.take()

    def _begin(self) -> None:
        """Some servers leave out the beginning."""
        if not self._state.is_started:
            self._state.start(Message())

    def _message_delta(self, event: Event) -> None:
        self._state.use(event.usage, is_last=True)
        if event.delta is not None and event.delta.stop_reason:
            self._state.finish(event.delta.stop_reason, event.delta.stop_details)

    def _end(self) -> list[AnswerEvent]:
        state = self._state
        if not state.is_started:
            return [AnswerFailed(_empty())]
        if not state.is_finished and state.may_be_cut:
            return [*state.take(), AnswerFailed(truncated(_TRUNCATED))]
        return state.end()

    def truncated(self) -> list[AnswerEvent]:
        state = self._state
        is_tolerated = self._profile.on_truncated == "end_turn" and not state.is_in_call
        if state.is_finished or (state.is_started and is_tolerated):
            return self._end()
        return [*state.take(), AnswerFailed(truncated(_TRUNCATED))]


def _empty() -> Rejection:
    return failure("the upstream sent an empty answer", "empty_answer", Reason.TRUNCATED)


def _too_large() -> Rejection:
    return failure("the upstream's answer is too large", "answer_limit")
