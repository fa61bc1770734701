"""A provider's Chat completion, whole or as chunks (docs/mapping.md 2, 3)."""

from typing import Any

from extproc.errors import Reason, Rejection
from extproc.translate import openai_errors
from extproc.translate.answer_body import SseReader, loads_or_none
from extproc.translate.answer_events import AnswerEvent, AnswerFailed
from extproc.translate.dialects.chat.answer_state import AnswerState, choice_failure, ends_without_message
from extproc.translate.part_queue import QueueOverflow
from extproc.translate.provider_error import failure, truncated
from extproc.translate.translated import TranslatedRequest
from extproc.wire import untrusted
from extproc.wire.chat import Choice, Completion, Said
from extproc.wire.lenient import Undecodable, decode, loads

_decoder = untrusted.decoder(Completion)


def read_whole(body: bytes, request: TranslatedRequest) -> list[AnswerEvent]:
    """A JSON answer of status 200."""
    profile = request.profile
    if not body.strip():
        return [AnswerFailed(failure("the upstream sent an empty answer", "empty_answer", Reason.TRUNCATED))]
    try:
        completion = decode(body, _decoder)
    except Undecodable:
        return [AnswerFailed(openai_errors.unreadable(body, profile))]
    if completion.error or completion.object == "error":
        return [AnswerFailed(openai_errors.in_answer(loads(body), profile))]
    choices = _first_choices(completion)
    if not choices:
        otherwise = "the upstream sent an answer without a choice"
        return [AnswerFailed(openai_errors.in_answer(loads(body), profile, otherwise))]
    for choice in choices:
        if failed := choice_failure(choice, profile):
            return [AnswerFailed(failed)]
    return _events(completion, choices, AnswerState(request, is_whole=True))


def _events(completion: Completion, choices: list[Choice], state: AnswerState) -> list[AnswerEvent]:
    state.start(completion)
    state.use(completion)
    for choice in choices:
        state.finish_with(choice)
    state.add_whole(_joined([said for choice in choices if (said := _said(choice)) is not None]))
    events = state.end()
    if isinstance(events[-1], AnswerFailed):
        return [AnswerFailed(truncated("the upstream's answer ended before completion"))]
    return events


def _first_choices(completion: Completion) -> list[Choice]:
    """Those of the lowest index: some proxies split text and calls over choices without one. A choice that a filter
    has emptied says so by its finish alone (Azure)."""
    found = completion.choices or ()
    usable = [choice for choice in found if _said(choice) is not None or ends_without_message(choice)]
    lowest = min((choice.index or 0 for choice in usable), default=0)
    return [choice for choice in usable if (choice.index or 0) == lowest]


def _said(choice: Choice) -> Said | None:
    return choice.message or choice.delta


def _joined(said: list[Said]) -> Said:
    if len(said) == 1:
        return said[0]
    first = Said()
    for one in said:
        for name in Said.__struct_fields__:
            mine, its = getattr(first, name), getattr(one, name)
            both = mine and its and type(mine) is type(its) and isinstance(its, str | list)
            setattr(first, name, mine + its if both else mine or its)
    return first


class StreamReader(SseReader):
    def __init__(self, request: TranslatedRequest) -> None:
        super().__init__(request.profile.max_event_bytes)
        self._request = request
        self._state = AnswerState(request)

    def rejection_of(self, value: Any) -> Rejection:
        return openai_errors.in_answer(value, self._request.profile)

    def read_event(self, data: bytes, name: str) -> list[AnswerEvent]:
        if data.startswith(b"[DONE]"):
            return self._done()
        if name == "error":
            return [AnswerFailed(self.rejection_of(loads_or_none(data)))]
        chunk = decode(data, _decoder)
        if chunk.error or chunk.object == "error":
            return [AnswerFailed(self.rejection_of(loads(data)))]
        try:
            return self._chunk(chunk)
        except QueueOverflow:
            return [AnswerFailed(failure("the upstream's tool calls could not be put in order", "queue_limit"))]

    def _chunk(self, chunk: Completion) -> list[AnswerEvent]:
        choices = [choice for choice in chunk.choices or () if not choice.index]
        if not chunk.choices and not chunk.id and not chunk.usage:
            return []
        for choice in choices:
            if failed := choice_failure(choice, self._request.profile):
                return [*self._state.take(), AnswerFailed(failed)]
        self._state.start(chunk)
        self._state.use(chunk)
        for choice in choices:
            if choice.delta is not None:
                self._state.add(choice.delta)
            self._state.finish_with(choice)
        # Usage that comes with the finish, or after it, is the last.
        return self._state.end() if chunk.counts and self._state.finish else self._state.take()

    def _done(self) -> list[AnswerEvent]:
        if not self._state.is_started:
            return [AnswerFailed(failure("the upstream sent an empty answer", "empty_answer", Reason.TRUNCATED))]
        return self._state.end()

    def truncated(self) -> list[AnswerEvent]:
        ended = self._state.finish or self._state.stopped or self._request.profile.on_truncated == "end_turn"
        if self._state.is_started and ended:
            return self._state.end()
        return [AnswerFailed(failure("upstream stream ended before completion", "truncated", Reason.TRUNCATED))]
