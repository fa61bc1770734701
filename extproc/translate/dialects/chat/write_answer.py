"""An answer for a Chat Completions client: chunks, or one completion (docs/mapping.md 4.6, 4.7, 6.6)."""

from extproc.translate.answer_events import (
    AnswerEvent,
    AnswerFailed,
    AnswerFinished,
    AnswerStarted,
    ArgumentsDelta,
    CallEnded,
    CallStarted,
    Citations,
    Compacted,
    FinishReason,
    Keepalive,
    Logprobs,
    ReasoningDelta,
    ReasoningEnded,
    RefusalDelta,
    TextDelta,
    TextEnded,
    UsageReported,
    Warned,
)
from extproc.translate.dialects.chat.reasoning import write_reasoning
from extproc.translate.dialects.chat.write_output import Call, ChunkOutput, CompletionOutput, Head, Output
from extproc.translate.names import completion_id
from extproc.translate.openai_members import openai_citation
from extproc.translate.pair import Json, Usage
from extproc.translate.translated import TranslatedRequest

# Where the provider gives no words: a refusal of OpenAI's always has some.
DECLINED = "The model declined to answer."
SEAM = "\n\n"
_FINISH: dict[FinishReason, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "context_window": "length",
    "tool_calls": "tool_calls",
    "refusal": "content_filter",
}


class ChatWriter:
    """An AnswerWriter (translated.py)."""

    def __init__(self, request: TranslatedRequest) -> None:
        self.warnings: list[str] = []
        self.finish_reason = ""
        self._request = request
        self._legacy = request.shape.legacy
        self._out: Output = (
            ChunkOutput(include_usage=request.shape.include_usage, legacy=self._legacy)
            if request.stream
            else CompletionOutput(legacy=self._legacy)
        )
        self._length = 0
        """Characters of text so far."""
        self._part_begin = 0
        """Where in the text the part begins that comes now."""
        self._reasoning: list[str] = []
        """Text of the reasoning that is open."""
        self._has_reasoned = False
        self._details = 0
        self._calls = 0
        self._call: Call | None = None
        self._declined = False
        self._usage: Json = {}
        self._service_tier: str | None = None

    def take(self) -> bytes:
        return self._out.take()

    def ping(self) -> bytes:
        return self._out.ping()

    def write(self, event: AnswerEvent) -> None:
        match event:
            case TextDelta(text):
                self._length += len(text)
                self._out.text(text)
            case ArgumentsDelta(text):
                self._add_arguments(text)
            case ReasoningDelta(text):
                self._add_reasoning(text)
            case ReasoningEnded():
                self._end_reasoning(event)
            case CallStarted():
                self._start_call(event)
            case CallEnded(cut):
                self._end_call(cut=cut)
            case TextEnded():
                self._part_begin = self._length
            case Warned():
                pass
            case _:
                self._write_rare(event)

    def _write_rare(
        self,
        event: AnswerStarted
        | RefusalDelta
        | Logprobs
        | Citations
        | Compacted
        | UsageReported
        | Keepalive
        | AnswerFinished
        | AnswerFailed,
    ) -> None:
        match event:
            case AnswerStarted():
                self._start(event)
            case RefusalDelta(text):
                self._declined = True
                self._out.refusal(text)
            case Logprobs(found):
                self._out.logprobs(found)
            case Citations(found):
                self._out.annotations(self._annotations(found))
            case Compacted():
                self.warnings.append("dropped:compaction")
            case UsageReported(usage, tier):
                self._usage = write_usage(usage)
                self._service_tier = tier or self._service_tier
            case Keepalive():
                self._out.keepalive()
            case AnswerFinished():
                self._finish(event)
            case AnswerFailed(rejection):
                self._out.fail(rejection)

    def _start(self, event: AnswerStarted) -> None:
        request = self._request
        model = event.model if event.model and request.profile.response_model == "upstream" else request.model
        self._service_tier = event.service_tier
        # OpenAI's types require a time, which Anthropic's answers do not have.
        self._out.start(Head(completion_id(event.id, request.nonce), int(request.now), model))

    def _annotations(self, found: tuple[Json, ...]) -> list[Json]:
        """A message has one text, so that places count from the begin of all parts."""
        begin = self._part_begin
        return [{"type": "url_citation", "url_citation": openai_citation(citation, begin)} for citation in found]

    def _add_reasoning(self, text: str) -> None:
        if self._request.shown == "yes":
            # OpenAI clients know one text of reasoning; the blocks of Claude's become its paragraphs.
            seam = SEAM if self._has_reasoned and not self._reasoning else ""
            self._out.reasoning(seam + text)
        self._reasoning.append(text)

    def _end_reasoning(self, event: ReasoningEnded) -> None:
        text = "".join(self._reasoning)
        self._has_reasoned = self._has_reasoned or bool(text)
        self._reasoning.clear()
        if detail := write_reasoning(self._details, event.carrier, text, event.data):
            self._details += 1
            self._out.reasoning_detail(detail)

    def _start_call(self, event: CallStarted) -> None:
        call = Call(self._calls, event.id, event.name, event.kind == "custom", [])
        self._calls += 1
        # `function_call` holds one call.
        if self._legacy and call.index:
            self.warnings.append("dropped:tool_calls")
            self._call = None
            return
        self._call = call
        self._out.call(call)

    def _add_arguments(self, text: str) -> None:
        if self._call is not None:
            self._call.arguments.append(text)
            self._out.arguments(self._call, text)

    def _end_call(self, *, cut: bool) -> None:
        if self._call is not None:
            self._out.end_call(self._call, cut=cut)
        self._call = None

    def _finish(self, event: AnswerFinished) -> None:
        reason = _FINISH[event.reason]
        if reason == "tool_calls" and self._legacy:
            reason = "function_call"
        if event.reason == "refusal" and self._declined:
            # A refusal in the model's own words ends like any answer: SDKs read the member, and raise on a filter.
            reason = "stop"
        elif event.reason == "refusal":
            self._out.refusal(event.explanation or DECLINED)
        self.finish_reason = reason
        self._out.end(reason, self._usage, self._service_tier)


def write_usage(usage: Usage) -> Json:
    # OpenAI's prompt tokens include those of the cache, Anthropic's do not.
    cached, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    prompt = usage.input_tokens + written + cached
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output_tokens,
        "total_tokens": prompt + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": usage.thinking_tokens or 0},
    }
