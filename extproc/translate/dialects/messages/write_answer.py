"""An answer for a Messages client: events, or one message (docs/mapping.md 2, 3)."""

from typing import NamedTuple

import msgspec

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
from extproc.translate.arguments import JsonPrefix, compact, tool_input
from extproc.translate.dialects.messages.write_output import (
    EventOutput,
    MessageOutput,
    Output,
    ReplayedOutput,
    blank_message,
    write_tier,
    write_usage,
)
from extproc.translate.names import message_id
from extproc.translate.pair import Json, Usage, estimated_tokens
from extproc.translate.signature import seal
from extproc.translate.translated import TranslatedRequest

_COMPACTED = "(compacted by the provider, who alone can read it)"
# https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons
_STOP_REASONS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "context_window": "model_context_window_exceeded",
    "tool_calls": "tool_use",
    "refusal": "refusal",
}


class _Hidden(NamedTuple):
    """Reasoning that nobody asked for, which the provider needs back where it calls a tool."""

    place: int
    """Where it stands in the answer."""
    envelope: str


class MessagesWriter:
    """An AnswerWriter (translated.py)."""

    def __init__(self, request: TranslatedRequest) -> None:
        self.warnings: list[str] = []
        self.finish_reason = ""
        self._request = request
        self._shown = request.shown
        ping_by_delta = request.profile.ping == "delta"
        self._out: Output = EventOutput(ping_by_delta=ping_by_delta) if request.stream else MessageOutput()
        self._open = ""
        """The type of the open block, unless it is a call."""
        self._blank = ""
        """Blank text at the beginning of a part: no block of its own, since Anthropic refuses one in the history."""
        self._lone_blank = ""
        """The same of a part that has ended, while nothing follows it."""
        self._thought: list[str] = []
        """Reasoning that the client does not read."""
        self._hidden: list[_Hidden] = []
        self._call: CallBlock | None = None
        self._has_called = False
        self._has_cut_call = False
        self._is_whole = False
        self._has_text = False
        self._usage = Usage()

    def take(self) -> bytes:
        return self._out.take()

    def ping(self) -> bytes:
        return self._out.ping()

    def write(self, event: AnswerEvent) -> None:
        match event:
            case TextDelta(text) | RefusalDelta(text):
                if self._open == "text":
                    self._out.delta("text_delta", text)
                else:
                    self._begin_text(text)
            case ArgumentsDelta(text):
                if self._call is not None:
                    self._call.add(text)
            case ReasoningDelta(text):
                self._add_reasoning(text)
            case TextEnded():
                self._end_text()
            case ReasoningEnded():
                self._end_reasoning(event)
            case CallStarted():
                self._start_call(event)
            case _:
                self._write_rare(event)

    def _write_rare(
        self,
        event: AnswerStarted
        | CallEnded
        | Logprobs
        | Citations
        | Compacted
        | UsageReported
        | Warned
        | Keepalive
        | AnswerFinished
        | AnswerFailed,
    ) -> None:
        match event:
            case AnswerStarted():
                self._start(event)
            case UsageReported(usage):
                self._usage = usage
            case AnswerFinished():
                self._finish(event)
            case AnswerFailed(rejection):
                self._out.fail(rejection)
            case CallEnded(cut):
                self._end_call(cut=cut)
            case Logprobs() | Warned() | Keepalive():
                pass
            case Citations():
                self.warnings.append("dropped:annotations")
            case Compacted(text, carrier, data):
                # Clients take a compaction without text for one that failed.
                content = text or _COMPACTED
                self._open_block("compaction", content=content, encrypted_content=seal(carrier, data))
                self._close_block()

    def _start(self, event: AnswerStarted) -> None:
        request = self._request
        self._is_whole = event.is_whole
        if event.is_whole and request.stream:
            self._out = ReplayedOutput()
        model = event.model if event.model and request.profile.response_model == "upstream" else request.model
        # OpenAI counts at the end of a stream, Anthropic at its beginning. Claude Code compacts a conversation by the
        # tokens that answers report, so the first number must not be zero.
        usage = event.usage or Usage(input_tokens=self._estimated_input())
        usage = msgspec.structs.replace(usage, output_tokens=0, thinking_tokens=None)
        members = write_usage(usage) | write_tier(event.service_tier)
        self._out.start(blank_message(message_id(event.id, request.nonce), model, members))

    def _estimated_input(self) -> int:
        return estimated_tokens(self._request.size) if self._request.profile.start_usage == "estimate" else 0

    def _open_block(self, kind: str, **members: str) -> None:
        self._blank = self._lone_blank = ""
        self._open = kind
        self._has_text = self._has_text or kind == "text"
        self._out.open({"type": kind, **members})

    def _close_block(self) -> None:
        self._open = ""
        self._out.stop()

    # Text

    def _begin_text(self, text: str) -> None:
        text = self._blank + text
        # Models often send a line feed before a call. As a block of its own it would come back with the history, and
        # Anthropic refuses text of white space.
        if text.isspace():
            self._blank = text
        elif text:
            self._open_block("text", text="")
            self._out.delta("text_delta", text)

    def _end_text(self) -> None:
        if self._open == "text":
            self._close_block()
        else:
            self._lone_blank, self._blank = self._blank, ""

    # Reasoning

    def _add_reasoning(self, text: str) -> None:
        if self._open != "thinking" and self._shown != "no":
            # SDKs' types require the signature from the start; its delta replaces it.
            self._open_block("thinking", thinking="", signature="")
        if self._shown == "yes":
            self._out.delta("thinking_delta", text)
        else:
            self._thought.append(text)

    def _end_reasoning(self, event: ReasoningEnded) -> None:
        # Claude Code returns thinking untouched, so that its signature can carry what the provider wants back
        # (docs/mapping.md 2.4).
        envelope = seal(event.carrier, event.data, "".join(self._thought) or None)
        self._thought.clear()
        if self._shown != "no":
            if self._open != "thinking":
                self._open_block("thinking", thinking="", signature="")
            self._out.delta("signature_delta", envelope)
            self._close_block()
        elif event.is_needed and self._request.profile.emit_thinking != "never":
            self._hidden.append(_Hidden(self._out.place, envelope))
            if self._has_called and event.data:
                self._reveal()

    def _reveal(self) -> None:
        """Reasoning must come back with the calls that it led to."""
        for added, hidden in enumerate(self._hidden):
            block = {"type": "thinking", "thinking": "", "signature": hidden.envelope}
            self._out.insert(hidden.place + added, block)
        self._hidden.clear()

    # Calls

    def _start_call(self, event: CallStarted) -> None:
        self._blank = self._lone_blank = ""
        self._has_called = True
        self._reveal()
        block: Json = {"type": "tool_use", "id": event.id, "name": event.name, "input": {}}
        # Clients know a member by both names. `direct`: the model itself makes the call, not code that it runs.
        if toolset := self._request.shape.namespaces.get(event.name):
            block |= {"name": toolset[1], "toolset_name": toolset[0], "caller": {"type": "direct"}}
        self._call = CallBlock(self._out, block, self.warnings, is_free_text=event.kind == "custom")

    def _end_call(self, *, cut: bool) -> None:
        if self._call is not None:
            self._has_cut_call |= not self._call.close(cut=cut)
        self._call = None

    # The end

    def _finish(self, event: AnswerFinished) -> None:
        if self._lone_blank and self._is_whole and not self._has_called and not self._has_text:
            self._open_block("text", text=self._lone_blank)
            self._close_block()
        reason = event.reason
        if self._has_cut_call and reason in ("stop", "tool_calls", "stop_sequence"):
            reason = "length"  # clients run no tools after it
        self.finish_reason = _STOP_REASONS[reason]
        ending: Json = {"stop_reason": self.finish_reason, "stop_sequence": None}
        if reason == "stop_sequence":
            ending["stop_sequence"] = event.stop_sequence
        if reason == "refusal":
            details = {"type": "refusal", "category": event.category, "explanation": event.explanation}
            ending["stop_details"] = details
        self._out.end(ending, self._usage)


def own_answer(text: str, model: str, nonce: str, *, stream: bool) -> bytes:
    """An answer of the gateway's own, which ends the turn. No provider is asked."""
    out: Output = EventOutput() if stream else MessageOutput()
    out.start(blank_message(message_id("", nonce), model, write_usage(Usage())))
    out.open({"type": "text", "text": ""})
    out.delta("text_delta", text)
    out.stop()
    out.end({"stop_reason": "end_turn", "stop_sequence": None}, Usage())
    return out.take()


_OPENING = '{"input":"'


class CallBlock:
    """In a stream the arguments go out as far as they are safe: Anthropic's SDK raises on arguments that are no
    beginning of JSON. A cut call is never completed: in a stream its arguments end where the model's ended, in a
    message it is left out."""

    def __init__(self, out: Output, block: Json, warnings: list[str], *, is_free_text: bool) -> None:
        """`is_free_text`: the arguments of a custom tool, which become the one member of an object."""
        self._out = out
        self._block = block
        self._warnings = warnings
        self._is_free_text = is_free_text
        self._is_open = False
        self._arguments: list[str] = []
        self._prefix: JsonPrefix | None = None
        """Set where the arguments look like an object."""

    def add(self, text: str) -> None:
        self._arguments.append(text)
        if not self._out.is_live:
            return
        if self._is_free_text:
            opening = "" if self._is_open else _OPENING
            self._write(opening + _escaped(text))
            return
        if len(self._arguments) == 1 and text[:1] == "{":
            self._prefix = JsonPrefix()
        if self._prefix is not None:
            self._write(self._prefix.feed(text))

    def close(self, *, cut: bool) -> bool:
        """Returns whether the client has got the whole call."""
        if self._prefix is not None and self._prefix.broken and self._prefix.in_string:
            # No JSON, and the client has half of a value already.
            self._warn_invalid()
            self._warnings.append(f"incomplete_tool_call:{self._block['id']}")
            cut = True
        if not cut:
            self._write(self._rest())
        if self._is_open:
            self._out.stop()
        return not cut

    def _write(self, text: str) -> None:
        if not self._is_open:
            self._is_open = True
            self._out.open(self._block)
        if text:
            self._out.delta("input_json_delta", text)

    def _rest(self) -> str:
        arguments = "".join(self._arguments)
        if self._is_free_text:
            opening = "" if self._is_open else _OPENING + _escaped(arguments)
            return f'{opening}"}}'
        if self._prefix is None:
            found = tool_input(arguments)
            if not found.meant:
                self._warn_invalid()
            # A block without a delta keeps the empty object that it began with.
            return compact(found.value) if found.value else ""
        if self._prefix.complete:
            return self._prefix.close()
        self._warn_invalid()
        return self._prefix.close_with(arguments)

    def _warn_invalid(self) -> None:
        self._warnings.append(f"invalid_tool_arguments:{self._block['id']}")


def _escaped(text: str) -> str:
    return msgspec.json.encode(text).decode()[1:-1]
