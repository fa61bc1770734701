"""What an answer has said so far, and how it ends; the same for one message and for its chunks."""

from typing import Any

from extproc.translate.dialects.chat.read_reasoning import MISTRAL, content_pieces, reasoning_text
from extproc.translate.dialects.chat.usage import read_usage
from extproc.translate.for_messages.account import Account
from extproc.translate.for_messages.asked import Asked
from extproc.translate.for_messages.ending import without_tools
from extproc.translate.for_messages.sinks import Sink
from extproc.translate.messages_on_chat import finish
from extproc.translate.messages_on_chat.block_queue import Queue
from extproc.translate.messages_on_chat.calls import Calls
from extproc.translate.pair import Json, Outcome
from extproc.translate.text_filter import TextFilter
from extproc.wire.chat import Choice, Completion, Said, ToolCall


class AnswerState:
    def __init__(self, asked: Asked, sink: Sink, outcome: Outcome) -> None:
        self._asked = asked
        self.account = Account(asked, sink, outcome)
        self.warn = self.account.warn
        self._calls = Calls(asked, self.warn)
        self._queue = Queue(asked, sink, self._calls)
        self._speech = _filter_for(asked)
        self._fields = asked.profile.reasoning_out
        self._refusal: list[str] = []
        self._whole = False
        """Every item of `tool_calls` is a call of its own."""
        self.finish = ""
        self._matched = ""
        """The stop string, by the upstream's own word."""

    @property
    def stopped(self) -> bool:
        """A stop sequence was found that the upstream did not look for."""
        return self._speech is not None and self._speech.matched is not None

    @property
    def started(self) -> bool:
        return self.account.started

    @property
    def is_cut(self) -> bool:
        """A call is not finished, and the upstream has not said why the answer ended."""
        return not self.finish and not self.stopped and self._queue.is_cut()

    def start(self, first: Completion) -> None:
        usage = read_usage(first.counts) if first.counts else None
        self.account.start(first.id or "", first.model or "", usage, first.service_tier)

    def use(self, usage: Json | None) -> None:
        if usage:
            self.account.use(read_usage(usage))

    def hear(self, said: Said) -> None:
        if self.stopped:
            return
        if said.reasoning_content or said.reasoning or said.reasoning_details:
            self._reasoning(said)
        content = said.content
        if content:
            if self._speech is None and type(content) is str:
                self._text(content)
            else:
                self._content(content)
        if said.refusal:
            self._refusal.append(said.refusal)
            self._text(said.refusal)
        if said.tool_calls or said.function_call is not None:
            self._tools(said)
        if said.annotations or said.audio:
            self._extras(said)

    def hear_whole(self, said: Said) -> None:
        """A whole message: reasoning stands first, also what only its calls carry."""
        self._whole = True
        self._reasoning(said)
        found = content_pieces(said.content)
        for text in (text for thinking, text in found if thinking):
            self._think(MISTRAL, text, None)
        self._queue.expect_calls(said.tool_calls or [])
        said.content = "".join(text for thinking, text in found if not thinking)
        said.reasoning_content = said.reasoning = said.reasoning_details = None
        self.hear(said)

    def finish_with(self, reason: str) -> None:
        self.finish = reason
        self._flush()
        self._queue.finish_reached()

    def match(self, choice: Choice) -> None:
        for word in (choice.stop_reason, choice.matched_stop):
            if isinstance(word, str):
                self._matched = word

    def end(self, *, keep_blank: bool = False) -> None:
        """`keep_blank`: text that is blank is text, if it is all there is."""
        self._flush()
        self._queue.close(at_limit=finish.is_at_limit(self.finish), keep_blank=keep_blank)
        reason, matched, sequences = self.finish, self._matched, self._asked.stop_sequences
        if self._speech is not None and self._speech.matched is not None:
            reason, matched = "stop_sequence", self._speech.matched
        ending = finish.ending(reason, self._calls.names.given > 0, matched, sequences, "".join(self._refusal))
        self.account.end(without_tools(ending) if self._calls.names.cut else ending)

    def _text(self, text: str) -> None:
        self.account.add(text)
        self._queue.text(text)

    def _think(self, carrier: str, text: str, details: list[Any] | None) -> None:
        self.account.add(text)
        self._queue.thinking(carrier, text, details)

    def _reasoning(self, said: Said) -> None:
        carrier, text = reasoning_text(said, self._fields)
        details = said.reasoning_details if "reasoning_details" in self._fields else None
        if text or details:
            self._flush()
            self._think(carrier or "reasoning_details", text, details)

    def _content(self, content: Any) -> None:
        for thinking, text in content_pieces(content):
            if thinking:
                self._flush()
                self._think(MISTRAL, text, None)
            elif self._speech is None:
                self._text(text)
            else:
                self._spoken(self._speech.feed(text))

    def _spoken(self, found: list[tuple[bool, str]]) -> None:
        for thinking, text in found:
            if thinking:
                self._think(self._fields[0] if self._fields else "reasoning_content", text, None)
            else:
                self._text(text)

    def _flush(self) -> None:
        if self._speech is not None:
            self._spoken(self._speech.flush())

    def _tools(self, said: Said) -> None:
        self._flush()
        for n, call in enumerate(said.tool_calls or ()):
            self._call(n if self._whole else call.index, call)
        if said.function_call is not None:
            self._call("fc", ToolCall(function=said.function_call))

    def _call(self, key: int | str | None, call: ToolCall) -> None:
        self.account.size += self._queue.call(key, call, call.given)

    def _extras(self, said: Said) -> None:
        if said.annotations:
            self.warn("dropped:annotations")
        if isinstance(said.audio, dict):
            self.warn("dropped:audio")
            transcript = said.audio.get("transcript")
            if not said.content and isinstance(transcript, str):
                self._text(transcript)


def _filter_for(asked: Asked) -> TextFilter | None:
    """None where text passes as it is, which is nearly always."""
    profile = asked.profile
    stops = asked.stop_sequences if profile.local_stop else ()
    found = TextFilter(prefill=asked.prefill, stops=stops, think_tags=profile.parse_think_tags)
    return found if found.is_needed else None
