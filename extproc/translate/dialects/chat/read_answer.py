"""A provider's Chat completion, whole or as chunks (docs/mapping.md 2, 3)."""

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
    Citations,
    FinishReason,
    Logprobs,
    UsageReported,
    Warned,
)
from extproc.translate.dialects.chat.read_calls import Calls
from extproc.translate.dialects.chat.reasoning import ReasoningReader, content_pieces, reasoning_text
from extproc.translate.pair import Json, Usage
from extproc.translate.part_queue import PartQueue, QueueOverflow
from extproc.translate.provider_error import failure, truncated
from extproc.translate.text_filter import TextFilter
from extproc.translate.translated import TranslatedRequest
from extproc.wire import untrusted
from extproc.wire.chat import AnswerMessage, Choice, Completion
from extproc.wire.lenient import Undecodable, count, decode, loads

NORMAL = frozenset(("stop", "eos", "eos_token", "end_turn", "complete", "completed", "done"))
_CALLS = ("tool_calls", "function_call", "tool_use")
_FILTERED = (
    "content_filter", "content_filtered", "safety", "sensitive", "recitation", "prohibited_content", "blocklist",
    "spii", "refusal",  # Gemini: safety, recitation, prohibited_content, blocklist, spii
)  # fmt: skip
# OpenAI knows five of these (https://platform.openai.com/docs/api-reference/chat/object); the others are words of
# servers that speak its dialect.
_REASONS: dict[str, FinishReason] = {
    **dict.fromkeys((*NORMAL, *_CALLS), "stop"),
    "stop_sequence": "stop_sequence",
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens"), "length"),
    **dict.fromkeys(("model_length", "context_length", "model_context_window_exceeded"), "context_window"),
    **dict.fromkeys(_FILTERED, "refusal"),
}
# Words of servers for an answer that broke off. Taken for ends, they would make half an answer look whole.
_FAILURES: dict[str, Kind] = {
    **dict.fromkeys(("error", "abort", "cancelled", "canceled", "network_error"), Kind.API),
    "insufficient_system_resource": Kind.OVERLOADED,  # DeepSeek
}


def finish_word(finish: str | None) -> str:
    return (finish or "").strip().lower()


def known_reason(finish: str | None) -> FinishReason | None:
    """`stop` also for a word that says calls were made: whether they were, the calls themselves tell."""
    return _REASONS.get(finish_word(finish))


def ends_without_message(choice: Choice) -> bool:
    """A filter or a failure has left nothing else of the choice."""
    return choice.error is not None or finish_word(choice.finish_reason) in (*_FILTERED, *_FAILURES)


def choice_failure(choice: Choice, profile: Profile) -> Rejection | None:
    """The failure that a choice reports, in a member or by its finish reason."""
    if choice.error:
        return openai_errors.in_answer({"error": choice.error}, profile)
    if not choice.finish_reason:
        return None
    kind = _FAILURES.get(finish_word(choice.finish_reason))
    if kind is None:
        return None
    return Rejection(
        kind=kind,
        message="the upstream model ended its answer with an error",
        reason=Reason.UPSTREAM,
        detail=f"finish_{finish_word(choice.finish_reason)}",
        status=502 if kind is Kind.API else 0,
    )


class AnswerState:
    """Raises part_queue.QueueOverflow."""

    def __init__(self, request: TranslatedRequest, *, is_whole: bool = False) -> None:
        self.is_started = False
        self._is_whole = is_whole
        self.finish = ""
        """The last finish reason, in the provider's word."""
        self._request = request
        self._profile = request.profile
        self._queue = PartQueue()
        self._reasoning = ReasoningReader(self._queue, is_needed=request.profile.reasoning_history != "none")
        self._calls = Calls(request, self._queue, self._reasoning)
        stops = request.stop_sequences if self._profile.local_stop else ()
        self._filter: TextFilter | None = None
        if request.prefill or stops or self._profile.parse_think_tags:
            self._filter = TextFilter(prefill=request.prefill, stops=stops, think_tags=self._profile.parse_think_tags)
        self._refusal: list[str] = []
        self._matched = ""
        """The stop string, by the provider's own word."""

    @property
    def stopped(self) -> bool:
        """A stop sequence was found that the provider did not look for."""
        return self._filter is not None and self._filter.matched is not None

    def take(self) -> list[AnswerEvent]:
        return self._queue.take()

    def begin(self, completion: Completion) -> None:
        """Reads what stands beside the choices."""
        counts = completion.counts
        usage = read_usage(counts) if counts else None
        if not self.is_started:
            self.is_started = True
            names = (completion.id or "", completion.model or "", completion.service_tier)
            self._queue.out.append(AnswerStarted(*names, usage, self._is_whole))
        if usage is not None:
            self._queue.out.append(UsageReported(usage, completion.service_tier))

    def add(self, message: AnswerMessage) -> None:
        """A delta."""
        if self.stopped:
            return
        if message.reasoning_content or message.reasoning or message.reasoning_details:
            self._add_reasoning(message)
        if message.content:
            self._add_content(message.content)
        if message.refusal:
            self._add_refusal(message.refusal)
        if message.tool_calls or message.function_call is not None:
            self._flush()
            self._calls.add(message)
        if message.annotations or message.audio:
            self._add_rest(message)

    def add_whole(self, message: AnswerMessage) -> None:
        """A whole message: reasoning stands first, also that which only the calls carry."""
        self._add_reasoning(message)
        if not isinstance(message.content, str):
            pieces = content_pieces(message.content)
            for text in (text for is_reasoning, text in pieces if is_reasoning):
                self._reasoning.add_mistral(text)
            message.content = "".join(text for is_reasoning, text in pieces if not is_reasoning)
        # Signatures of calls are read first, since clients of Messages take reasoning only before the calls.
        self._calls.expect(message.tool_calls or [])
        message.reasoning_content = message.reasoning = message.reasoning_details = None
        self._calls.is_whole = True
        self.add(message)

    def finish_with(self, choice: Choice) -> None:
        # OpenAI says `stop` for both; these servers add which string it was.
        for word in (choice.stop_reason, choice.matched_stop):
            if isinstance(word, str):
                self._matched = word
        if isinstance(choice.logprobs, dict) and isinstance(found := choice.logprobs.get("content"), list) and found:
            self._queue.out.append(Logprobs(tuple(found)))
        if choice.finish_reason:
            self.finish = choice.finish_reason
            self._flush()
            self._queue.close_ended()

    def end(self) -> list[AnswerEvent]:
        """The answer is complete, unless a call was cut and nothing says why."""
        self._flush()
        if not self.finish and not self.stopped and self._queue.is_cut():
            return [*self._queue.take(), AnswerFailed(truncated("upstream stream ended before completion"))]
        self._reasoning.end()
        reason = known_reason(self.finish)
        self._queue.close(at_limit=reason in ("length", "context_window"))
        return [*self._queue.take(), *self._finished()]

    def _finished(self) -> list[AnswerEvent]:
        if self.stopped and self._filter is not None and not self._queue.has_cut_call:
            return [AnswerFinished("stop_sequence", self._filter.matched)]
        refusal = "".join(self._refusal)
        reason = known_reason(self.finish)
        if refusal or reason == "refusal":
            return [AnswerFinished("refusal", explanation=refusal or None)]
        warnings: list[AnswerEvent] = []
        if reason is None:
            warnings.append(Warned("unknown_finish_reason" if finish_word(self.finish) else "finish_reason_missing"))
        if self._queue.has_cut_call:
            return [*warnings, AnswerFinished("context_window" if reason == "context_window" else "length")]
        if reason in (None, "stop", "stop_sequence") and self._queue.calls:  # Gemini ends with `stop`
            return [*warnings, AnswerFinished("tool_calls")]
        named = self._matched if self._matched in self._request.stop_sequences else None
        if named is not None and (reason == "stop_sequence" or finish_word(self.finish) in NORMAL):
            return [*warnings, AnswerFinished("stop_sequence", named)]
        return [*warnings, AnswerFinished(reason or "stop")]

    def _add_reasoning(self, message: AnswerMessage) -> None:
        carrier, text = reasoning_text(message, self._profile.reasoning_out)
        details = message.reasoning_details if "reasoning_details" in self._profile.reasoning_out else None
        if text or details:
            self._flush()
            self._reasoning.add(carrier or "reasoning_details", text, details)

    def _add_content(self, content: Any) -> None:
        if self._filter is None and type(content) is str:
            self._queue.add_text(self._queue.text_part(), content)
            return
        for is_reasoning, text in content_pieces(content):
            if is_reasoning:
                self._flush()
                self._reasoning.add_mistral(text)
            elif self._filter is None:
                self._write(text)
            else:
                self._write_filtered(self._filter.feed(text))

    def _write_filtered(self, found: list[tuple[bool, str]]) -> None:
        fields = self._profile.reasoning_out
        for is_reasoning, text in found:
            if is_reasoning:
                self._reasoning.add(fields[0] if fields else "reasoning_content", text, None)
            else:
                self._write(text)

    def _flush(self) -> None:
        if self._filter is not None:
            self._write_filtered(self._filter.flush())

    def _write(self, text: str) -> None:
        self._queue.add_text(self._queue.text_part(), text)

    def _add_refusal(self, text: str) -> None:
        self._refusal.append(text)
        self._queue.add_text(self._queue.text_part(refusal=True), text)

    def _add_rest(self, message: AnswerMessage) -> None:
        if isinstance(message.annotations, list) and message.annotations:
            found = [item.get("url_citation") for item in message.annotations if isinstance(item, dict)]
            cited = tuple(citation for citation in found if isinstance(citation, dict))
            if cited:
                self._queue.out.append(Citations(cited))
            if len(cited) < len(message.annotations):
                self._queue.out.append(Warned("dropped:annotations"))
        if isinstance(message.audio, dict):
            self._queue.out.append(Warned("dropped:audio"))
            transcript = message.audio.get("transcript")
            if not message.content and isinstance(transcript, str) and transcript:
                self._write(transcript)


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
    state.begin(completion)
    for choice in choices:
        state.finish_with(choice)
    state.add_whole(_joined([message for choice in choices if (message := _message(choice)) is not None]))
    events = state.end()
    if isinstance(events[-1], AnswerFailed):
        return [AnswerFailed(truncated("the upstream's answer ended before completion"))]
    return events


def _first_choices(completion: Completion) -> list[Choice]:
    """Those of the lowest index: some proxies split text and calls over choices without one. A choice that a filter
    has emptied says so by its finish alone (Azure)."""
    found = completion.choices or []
    if len(found) == 1 and found[0].message is not None:
        return found
    usable = [choice for choice in found if _message(choice) is not None or ends_without_message(choice)]
    lowest = min((choice.index or 0 for choice in usable), default=0)
    return [choice for choice in usable if (choice.index or 0) == lowest]


def _message(choice: Choice) -> AnswerMessage | None:
    return choice.message or choice.delta


def _joined(messages: list[AnswerMessage]) -> AnswerMessage:
    if len(messages) == 1:
        return messages[0]
    first = AnswerMessage()
    for one in messages:
        for name in AnswerMessage.__struct_fields__:
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
        # Azure begins with the results of its filter for the prompt:
        # https://learn.microsoft.com/azure/ai-services/openai/concepts/content-streaming.
        if not chunk.choices and not chunk.id and not chunk.usage:
            return []
        for choice in choices:
            if failed := choice_failure(choice, self._request.profile):
                return [*self._state.take(), AnswerFailed(failed)]
        self._state.begin(chunk)
        for choice in choices:
            if choice.delta is not None:
                self._state.add(choice.delta)
            self._state.finish_with(choice)
        # Usage that comes with the finish, or after it, is the last.
        return self._state.end() if self._state.finish and chunk.counts else self._state.take()

    def _done(self) -> list[AnswerEvent]:
        if not self._state.is_started:
            return [AnswerFailed(failure("the upstream sent an empty answer", "empty_answer", Reason.TRUNCATED))]
        return self._state.end()

    def truncated(self) -> list[AnswerEvent]:
        ended = self._state.finish or self._state.stopped or self._request.profile.on_truncated == "end_turn"
        if self._state.is_started and ended:
            return self._state.end()
        return [AnswerFailed(failure("upstream stream ended before completion", "truncated", Reason.TRUNCATED))]


# Token counts (docs/mapping.md 2.2, 4.6)


def read_usage(usage: Json) -> Usage:
    """OpenAI's total and its parts as four parts that do not overlap."""
    prompt = _first(usage.get("prompt_tokens"))
    total = _first(usage.get("total_tokens"))
    completion = _first(usage.get("completion_tokens"), max(0, total - prompt))
    # Reasoning tokens are a part of the completion's for OpenAI:
    # https://platform.openai.com/docs/api-reference/chat/object#chat-object-usage.
    thinking = count(_details(usage, "completion_tokens_details").get("reasoning_tokens"))
    details = _details(usage, "prompt_tokens_details")
    # DeepSeek and Moonshot have members of their own.
    cached = _first(details.get("cached_tokens"), usage.get("prompt_cache_hit_tokens"), usage.get("cached_tokens"))
    cached = min(cached, prompt)
    written = min(_first(details.get("cache_write_tokens")), prompt - cached)
    # Some vendors count reasoning beside the completion; then only the total tells.
    if thinking and total == prompt + completion + thinking:
        completion += thinking
    return Usage(
        input_tokens=prompt - cached - written,
        output_tokens=completion,
        cache_read_input_tokens=cached,
        cache_creation_input_tokens=written,
        thinking_tokens=thinking,
    )


def _first(*values: Any) -> int:
    for value in values:
        if value is not None and (number := count(value)) is not None:
            return number
    return 0


def _details(usage: Json, member: str) -> Json:
    details = usage.get(member)
    return details if isinstance(details, dict) else {}
