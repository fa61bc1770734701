"""A provider's response, whole or as events (docs/mapping.md 6.3, 6.4)."""

from collections.abc import Iterable
from typing import Any

from extproc.errors import Kind, Reason, Rejection
from extproc.providers.profiles import Profile
from extproc.translate import openai_errors
from extproc.translate.answer_body import SseReader, loads_or_none
from extproc.translate.answer_events import (
    AnswerEvent,
    AnswerFailed,
    AnswerFinished,
    AnswerStarted,
    UsageReported,
    Warned,
)
from extproc.translate.dialects.responses.read_items import Items
from extproc.translate.openai_errors import SPOKEN, known_code
from extproc.translate.pair import Json, Usage
from extproc.translate.part_queue import QueueOverflow
from extproc.translate.provider_error import failure, parse_error
from extproc.translate.translated import TranslatedRequest
from extproc.wire import untrusted
from extproc.wire.lenient import Undecodable, count, decode, loads
from extproc.wire.responses import Event, Response

_event_decoder = untrusted.decoder(Event)
_response_decoder = untrusted.decoder(Response)

# Event -> the kind of item that it belongs to; an upstream may leave out the event that adds the item.
_DELTAS = {
    "response.output_text.delta": "message",
    "response.refusal.delta": "message",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning_text.delta": "reasoning",
    "response.function_call_arguments.delta": "function_call",
    "response.custom_tool_call_input.delta": "custom_tool_call",
}
_DONES = {
    "response.output_text.done": "message",
    "response.refusal.done": "message",
    "response.function_call_arguments.done": "function_call",
    "response.custom_tool_call_input.done": "custom_tool_call",
}
# https://platform.openai.com/docs/api-reference/responses-streaming
_ENDS = {"response.completed": "completed", "response.incomplete": "incomplete"}


def read_whole(body: bytes, request: TranslatedRequest) -> list[AnswerEvent]:
    """A JSON answer of status 200."""
    if not body.strip():
        return [AnswerFailed(failure("the upstream sent an empty answer", "empty_answer", Reason.TRUNCATED))]
    try:
        response = decode(body, _response_decoder)
    except Undecodable:
        return [AnswerFailed(openai_errors.unreadable(body, request.profile))]
    answer = _Answer(request, is_whole=True)
    match response.status or ("completed" if response.output is not None else ""):
        # An incomplete response is an answer, too, cut by a limit or a filter (`incomplete_details`).
        case "completed" | "incomplete" as status:
            return answer.finish(response, status)
        # A failed response has status 200, like a complete one.
        case "failed":
            return answer.fail(response)
        case "":
            otherwise = "the upstream sent an answer without output"
            return [AnswerFailed(openai_errors.in_answer(loads(body), request.profile, otherwise))]
        case _:
            return [AnswerFailed(failure("the upstream's answer is not complete", "unfinished_answer"))]


class StreamReader(SseReader):
    def __init__(self, request: TranslatedRequest) -> None:
        super().__init__(request.profile.max_event_bytes)
        self._request = request
        self._answer = _Answer(request)

    def rejection_of(self, value: Any) -> Rejection:
        return stream_error(value, self._request.profile)

    def read_event(self, data: bytes, name: str) -> list[AnswerEvent]:
        # Some gateways end with Chat's mark; the dialect's own end has come before it.
        if data.startswith(b"[DONE]"):
            return []
        if name == "error":
            return [AnswerFailed(self.rejection_of(loads_or_none(data)))]
        event = decode(data, _event_decoder)
        if event.type == "error" or (event.error and not event.type):
            return [AnswerFailed(self.rejection_of(loads(data)))]
        try:
            return self._event(event, event.type or "")
        except QueueOverflow:
            return [AnswerFailed(failure("the upstream's answer could not be put in order", "queue_limit"))]

    def _event(self, event: Event, kind: str) -> list[AnswerEvent]:
        """Types that are not named here mean nothing to a client."""
        answer = self._answer
        if kind in _DELTAS:
            answer.items.find(event, _DELTAS[kind]).delta(event)
            return answer.take()
        if kind in _DONES:
            answer.items.find(event, _DONES[kind]).part_done(event)
            return answer.take()
        # Items begin and end with their position in the output, and their pieces come in between:
        # https://platform.openai.com/docs/guides/streaming-responses.
        if kind == "response.output_item.added":
            return answer.item_added(event)
        if kind == "response.output_item.done":
            return answer.item_done(event)
        if kind == "response.created":
            return answer.start(event.response or Response())
        if kind in _ENDS:
            return answer.finish(event.response or Response(), _ENDS[kind])
        # The status was 200 long before:
        # https://platform.openai.com/docs/api-reference/responses-streaming/response/failed.
        if kind == "response.failed":
            return answer.fail(event.response or Response())
        return []

    def truncated(self) -> list[AnswerEvent]:
        answer = self._answer
        has_ended = answer.stopped or self._request.profile.on_truncated == "end_turn"
        if answer.is_started and has_ended and not answer.is_cut:
            return self._answer.finish(Response(), "completed")
        return [AnswerFailed(failure("upstream stream ended before completion", "truncated", Reason.TRUNCATED))]


class _Answer:
    """What the answer has been so far, and how it ends."""

    def __init__(self, request: TranslatedRequest, *, is_whole: bool = False) -> None:
        self.is_started = False
        self._is_whole = is_whole
        self._request = request
        self.items = Items(request)

    @property
    def stopped(self) -> str | None:
        """The stop sequence that the provider did not look for."""
        return self.items.stopped

    @property
    def is_cut(self) -> bool:
        """A call is not finished, and nothing says why the answer ended."""
        return self.stopped is None and self.items.queue.is_cut()

    def start(self, response: Response) -> list[AnswerEvent]:
        if self.is_started:
            return []
        self.is_started = True
        usage = read_usage(response.usage, 0) if response.usage else None
        return [AnswerStarted(response.id or "", response.model or "", response.service_tier, usage, self._is_whole)]

    def item_added(self, event: Event) -> list[AnswerEvent]:
        if event.item is not None:
            self.items.find(event, event.item.type or "", event.item)
        return self.take()

    def item_done(self, event: Event) -> list[AnswerEvent]:
        if event.item is not None:
            self.items.find(event, event.item.type or "", event.item).done(event.item)
        return self.take()

    def finish(self, response: Response, status: str) -> list[AnswerEvent]:
        reason = _incomplete_reason(response) if status == "incomplete" else ""
        events = self._end(response, at_limit=reason == "max_output_tokens")
        return [*events, *self._finished(status, reason)]

    def fail(self, response: Response) -> list[AnswerEvent]:
        """A guard of the provider's stopped the model: that is a refusal, and what came before it stays."""
        declined = refusal(response)
        if declined is not None:
            return [*self._end(response, at_limit=False), declined]
        return [*self._usage(response), AnswerFailed(failed(response, self._request.profile))]

    def _end(self, response: Response, *, at_limit: bool) -> list[AnswerEvent]:
        events = self.start(response)
        self.items.end(response.output or [], at_limit=at_limit)
        return [*events, *self.items.take(), *self._usage(response)]

    def _usage(self, response: Response) -> list[AnswerEvent]:
        if not response.usage:
            return []
        return [UsageReported(read_usage(response.usage, self.items.searches), response.service_tier)]

    def _finished(self, status: str, reason: str) -> Iterable[AnswerEvent]:
        items = self.items
        if items.stopped is not None and not items.has_cut_call:
            yield AnswerFinished("stop_sequence", items.stopped)
        elif reason == "max_output_tokens":
            yield AnswerFinished("length")
        elif reason == "content_filter" or (items.refusal and not items.calls and not reason):
            yield AnswerFinished("refusal", explanation=items.refusal or None)
        else:
            if status == "incomplete":
                yield Warned("unknown_finish_reason" if reason else "finish_reason_missing")
            # A call that ends in the midst is cut, whatever the status says.
            yield AnswerFinished("length" if items.has_cut_call else "tool_calls" if items.calls else "stop")

    def take(self) -> list[AnswerEvent]:
        """Returns what has become ready since."""
        ready = self.items.take()
        return ready if self.is_started else [*self.start(Response()), *ready]


def _incomplete_reason(response: Response) -> str:
    return (response.incomplete_details.reason if response.incomplete_details else None) or ""


_INVALID = (400, Kind.INVALID_REQUEST)
_CODES: dict[str, tuple[int, Kind]] = {
    **SPOKEN,
    "server_error": (500, Kind.API),
    "vector_store_timeout": (504, Kind.TIMEOUT),
}
# https://platform.openai.com/docs/api-reference/responses/object#responses-object-error
_PROMPT_CODES = (
    "data_residency_mismatch", "empty_image_file", "failed_to_download_image", "image_content_policy_violation",
    "image_file_not_found", "image_file_too_large", "image_parse_error", "image_too_large", "image_too_small",
    "invalid_base64_image", "invalid_image", "invalid_image_format", "invalid_image_mode", "invalid_image_url",
    "invalid_prompt", "unsupported_image_media_type",
)  # fmt: skip
_STREAM_CODES = _CODES | dict.fromkeys(_PROMPT_CODES, _INVALID)
# Code -> category: a guard of the provider's stopped the model, which is what a refusal of Claude's looks like.
_REFUSALS = {"bio_policy": "bio", "misalignment_policy_violation": None}


def refusal(response: Response) -> AnswerFinished | None:
    """The end that a failed response stands for, where it is a refusal."""
    error = parse_error({"error": response.error})
    if error.code not in _REFUSALS:
        return None
    return AnswerFinished("refusal", explanation=error.message or None, category=_REFUSALS[error.code])


def failed(response: Response, profile: Profile) -> Rejection:
    """Codes that are not known concern the prompt."""
    error = {"error": response.error}
    codes = dict.fromkeys(parse_error(error).words, _INVALID) | _CODES
    found = known_code(error, profile, codes)
    if found is None:
        return openai_errors.in_answer(error, profile, "the upstream's answer failed")
    return openai_errors.coded(error, profile, found)


def stream_error(value: Any, profile: Profile) -> Rejection:
    """An event of type `error`, whose members are flat, or an error object as elsewhere."""
    return openai_errors.coded(value, profile, known_code(value, profile, _STREAM_CODES))


# Token counts (docs/mapping.md 6.3, 6.5)


def read_usage(usage: Json, web_searches: int) -> Usage:
    """The four parts do not overlap: input without what was cached, cache reads, cache writes, output."""
    prompt = count(usage.get("input_tokens")) or 0
    # OpenAI's input tokens include those of the cache, Anthropic's do not.
    details = _object(usage.get("input_tokens_details"))
    cached = min(count(details.get("cached_tokens")) or 0, prompt)
    written = min(count(details.get("cache_write_tokens")) or 0, prompt - cached)
    return Usage(
        input_tokens=prompt - cached - written,
        output_tokens=count(usage.get("output_tokens")) or 0,
        cache_read_input_tokens=cached,
        cache_creation_input_tokens=written,
        thinking_tokens=count(_object(usage.get("output_tokens_details")).get("reasoning_tokens")),
        web_searches=web_searches,
    )


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
