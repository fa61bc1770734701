"""A Messages provider's answer, whole, as events or an error (docs/mapping.md 4.6, 4.7, 5.3)."""

import re
from http import HTTPStatus
from typing import Any

import msgspec

from extproc.errors import Kind, Reason, Rejection
from extproc.providers.profiles import Profile
from extproc.translate.answer_body import SseReader, loads_or_none
from extproc.translate.answer_events import AnswerEvent, AnswerFailed, Keepalive
from extproc.translate.dialects.messages.read_blocks import AnswerState
from extproc.translate.part_queue import QueueOverflow
from extproc.translate.provider_error import ProviderError, failure, parse_error, scrubbed, truncated
from extproc.translate.translated import TranslatedRequest
from extproc.wire import untrusted
from extproc.wire.lenient import Undecodable, decode, loads
from extproc.wire.messages import Event, Message

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
        return [AnswerFailed(in_answer(loads(body), request.profile))]
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
        return in_answer(value, self._profile)

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
            # A ping before the beginning says nothing of an answer, so that its status can still be put right.
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


NO_RETRY = (("x-should-retry", "false"),)
_REFUSED_CREDENTIAL = "gateway credential rejected"

_TYPES: dict[str, Kind] = {str(kind): kind for kind in Kind}
_VAGUE = frozenset((Kind.INVALID_REQUEST, Kind.API))
"""A status says more than these types."""
# https://platform.claude.com/docs/en/api/errors#http-errors; 529 is Anthropic's own, for a service without capacity.
_STATUSES: dict[int, Kind] = {
    401: Kind.AUTHENTICATION,
    402: Kind.BILLING,
    403: Kind.PERMISSION,
    404: Kind.NOT_FOUND,
    408: Kind.TIMEOUT,
    409: Kind.CONFLICT,
    413: Kind.TOO_LARGE,
    429: Kind.RATE_LIMIT,
    504: Kind.TIMEOUT,
    529: Kind.OVERLOADED,
}
# Anthropic has no code for it, only these sentences; OpenAI's clients look for `context_length_exceeded`.
_OVERFLOWS = ("prompt is too long", "exceed context limit")
_PATH = re.compile(r"([a-z][a-z0-9_]*(?:\.[A-Za-z0-9_-]+)*): ")


def by_status(status: int, body: bytes, profile: Profile) -> Rejection:
    """An answer whose status says that it is an error. The path is the provider's."""
    error = parse_error(body)
    return _rejection(error, status, profile, _kind(error, status), _phrase(status))


def in_answer(value: Any, profile: Profile) -> Rejection:
    """An error inside an answer of status 200: its type is all there is."""
    error = parse_error(value)
    kind = _TYPES.get(error.type, Kind.API)
    rejection = _rejection(error, 0, profile, kind, "the upstream reported an error")
    return msgspec.structs.replace(rejection, path="")


def _kind(error: ProviderError, status: int) -> Kind:
    """The kind by the error's type, where that says more than the status."""
    by_type = _TYPES.get(error.type)
    if by_type is not None and by_type not in _VAGUE:
        return by_type
    if status in _STATUSES:
        return _STATUSES[status]
    return Kind.INVALID_REQUEST if 400 <= status < 500 else Kind.API


def _rejection(error: ProviderError, status: int, profile: Profile, kind: Kind, otherwise: str) -> Rejection:
    message = scrubbed(error.message) or otherwise
    if kind is Kind.AUTHENTICATION and profile.hide_upstream_auth:
        return Rejection(
            kind=Kind.API,
            message=_REFUSED_CREDENTIAL,
            reason=Reason.UPSTREAM,
            detail="upstream_credential_rejected",
            headers=NO_RETRY,
        )
    code, path = _code_and_path(kind, message)
    return Rejection(
        kind=kind,
        message=message,
        reason=Reason.UPSTREAM_TIMEOUT if kind is Kind.TIMEOUT else Reason.UPSTREAM,
        path=path,
        code=code,
        type="" if error.type in _TYPES else _foreign(error.type),
        detail=f"upstream_{status or 200}:{_foreign(error.type) or kind}",
        status=_status(kind, status),
        # OpenAI's clients get a 429, which their SDKs would repeat.
        headers=NO_RETRY if kind is Kind.BILLING else (),
    )


def _status(kind: Kind, status: int) -> int:
    """The status of the answer, or 0 where the kind decides it."""
    if kind is Kind.INVALID_REQUEST:
        return 400 if status in (0, 422) else status
    if kind is Kind.TIMEOUT:
        return 408 if status == 408 else 0
    if kind is Kind.API:
        return status if not status or 500 <= status <= 599 else 502
    return 0


def _code_and_path(kind: Kind, message: str) -> tuple[str, str]:
    if kind is Kind.NOT_FOUND:
        # One type stands for unknown models and unknown paths; only the message tells them apart.
        return "model_not_found" if message.startswith("model:") else "", "model"
    if kind is not Kind.INVALID_REQUEST:
        return "", ""
    if message.startswith(_OVERFLOWS[0]) or _OVERFLOWS[1] in message:
        return "context_length_exceeded", "messages"
    found = _PATH.match(message)
    return "", found.group(1) if found else ""


def _foreign(word: str) -> str:
    """A type that is not Anthropic's, or an empty string; `error` is the type of the envelope."""
    return word if word != "error" and re.fullmatch(r"[a-z][a-z0-9_]{0,63}", word) else ""


def _phrase(status: int) -> str:
    try:
        return f"upstream answered {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"upstream answered {status}"
