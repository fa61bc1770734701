"""What a Chat answer has been so far, and how it ends; the same for a completion and for its chunks."""

from typing import Any

from extproc.errors import Kind, Reason, Rejection
from extproc.providers.profiles import Profile
from extproc.translate import openai_errors
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
from extproc.translate.dialects.chat.read_reasoning import ReasoningReader, content_pieces, reasoning_text
from extproc.translate.dialects.chat.usage import read_usage
from extproc.translate.part_queue import PartQueue
from extproc.translate.provider_error import truncated
from extproc.translate.text_filter import TextFilter
from extproc.translate.translated import TranslatedRequest
from extproc.wire.chat import Choice, Completion, Said

NORMAL = frozenset(("stop", "eos", "eos_token", "end_turn", "complete", "completed", "done"))
_CALLS = ("tool_calls", "function_call", "tool_use")
_FILTERED = (
    "content_filter", "content_filtered", "safety", "sensitive", "recitation", "prohibited_content", "blocklist",
    "spii", "refusal",
)  # fmt: skip
_REASONS: dict[str, FinishReason] = {
    **dict.fromkeys((*NORMAL, *_CALLS), "stop"),
    "stop_sequence": "stop_sequence",
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens"), "length"),
    **dict.fromkeys(("model_length", "context_length", "model_context_window_exceeded"), "context_window"),
    **dict.fromkeys(_FILTERED, "refusal"),
}
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
        text_filter = TextFilter(prefill=request.prefill, stops=stops, think_tags=self._profile.parse_think_tags)
        self._filter = text_filter if text_filter.is_needed else None
        self._refusal: list[str] = []
        self._matched = ""
        """The stop string, by the provider's own word."""

    @property
    def stopped(self) -> bool:
        """A stop sequence was found that the provider did not look for."""
        return self._filter is not None and self._filter.matched is not None

    def take(self) -> list[AnswerEvent]:
        return self._queue.take()

    def start(self, completion: Completion) -> None:
        if not self.is_started:
            self.is_started = True
            usage = read_usage(completion.counts) if completion.counts else None
            names = (completion.id or "", completion.model or "", completion.service_tier)
            self._queue.out.append(AnswerStarted(*names, usage, self._is_whole))

    def use(self, completion: Completion) -> None:
        if usage := completion.counts:
            self._queue.out.append(UsageReported(read_usage(usage), completion.service_tier))

    def add(self, said: Said) -> None:
        """A delta."""
        if self.stopped:
            return
        if said.reasoning_content or said.reasoning or said.reasoning_details:
            self._add_reasoning(said)
        if said.content:
            self._add_content(said.content)
        if said.refusal:
            self._add_refusal(said.refusal)
        if said.tool_calls or said.function_call is not None:
            self._flush()
            self._calls.add(said)
        if said.annotations or said.audio:
            self._add_rest(said)

    def add_whole(self, said: Said) -> None:
        """A whole message: reasoning stands first, also that which only the calls carry."""
        self._add_reasoning(said)
        pieces = content_pieces(said.content)
        for text in (text for is_reasoning, text in pieces if is_reasoning):
            self._reasoning.add_mistral(text)
        self._calls.expect(said.tool_calls or [])
        said.content = "".join(text for is_reasoning, text in pieces if not is_reasoning)
        said.reasoning_content = said.reasoning = said.reasoning_details = None
        self._calls.is_whole = True
        self.add(said)

    def finish_with(self, choice: Choice) -> None:
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
        if reason in (None, "stop", "stop_sequence") and self._queue.calls:
            return [*warnings, AnswerFinished("tool_calls")]
        named = self._matched if self._matched in self._request.stop_sequences else None
        if named is not None and (reason == "stop_sequence" or finish_word(self.finish) in NORMAL):
            return [*warnings, AnswerFinished("stop_sequence", named)]
        return [*warnings, AnswerFinished(reason or "stop")]

    def _add_reasoning(self, said: Said) -> None:
        carrier, text = reasoning_text(said, self._profile.reasoning_out)
        details = said.reasoning_details if "reasoning_details" in self._profile.reasoning_out else None
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

    def _add_rest(self, said: Said) -> None:
        if isinstance(said.annotations, list) and said.annotations:
            found = [item.get("url_citation") for item in said.annotations if isinstance(item, dict)]
            cited = tuple(citation for citation in found if isinstance(citation, dict))
            if cited:
                self._queue.out.append(Citations(cited))
            if len(cited) < len(said.annotations):
                self._queue.out.append(Warned("dropped:annotations"))
        if isinstance(said.audio, dict):
            self._queue.out.append(Warned("dropped:audio"))
            transcript = said.audio.get("transcript")
            if not said.content and isinstance(transcript, str) and transcript:
                self._write(transcript)
