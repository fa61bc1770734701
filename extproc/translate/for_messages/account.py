"""What is counted and remarked while an answer is read, and the two ends of the message it becomes."""

import msgspec

from extproc.translate.for_messages.asked import Asked
from extproc.translate.for_messages.ending import Ending
from extproc.translate.for_messages.sinks import Sink, blank_message
from extproc.translate.for_messages.usage import tier, tokens_in, write_usage
from extproc.translate.names import message_id
from extproc.translate.pair import Outcome, Usage


class Account:
    def __init__(self, asked: Asked, sink: Sink, outcome: Outcome) -> None:
        self._asked = asked
        self._sink = sink
        self._outcome = outcome
        self._estimate = Usage(input_tokens=tokens_in(asked.size))
        self._estimates = asked.profile.missing_usage == "estimate"
        self._usage: Usage | None = None
        self.started = False
        self.size = 0
        """UTF-8 bytes of everything the model produced."""

    def warn(self, word: str) -> None:
        if word not in self._outcome.warnings:
            self._outcome.warnings.append(word)

    def start(self, id: str, model: str, usage: Usage | None, service_tier: str | None) -> None:
        """The client learns of the answer; from here on a failure can only be an event. `id`, `model`: upstream's."""
        self.started = self._outcome.begun = True
        self._outcome.model = model
        name = model if model and self._asked.profile.response_model == "upstream" else self._asked.model
        usage = usage or (self._estimate if self._asked.profile.start_usage == "estimate" else Usage())
        usage = msgspec.structs.replace(usage, output_tokens=0, thinking_tokens=None)
        members = write_usage(usage) | tier(service_tier)
        self._sink.start(blank_message(message_id(id, self._asked.nonce), name, members))

    def add(self, text: str) -> None:
        self.size += len(text) if text.isascii() else len(text.encode())

    def use(self, usage: Usage | None) -> None:
        """Counts are cumulative, so the last ones win."""
        if usage is not None:
            self._outcome.usage = self._usage = usage

    def measure(self) -> None:
        """Keeps the estimate true at any moment, since the client may leave at any."""
        if self._usage is None and self._estimates:
            self._estimate.output_tokens = tokens_in(self.size)
            self._outcome.usage = self._estimate

    def end(self, ending: Ending) -> None:
        if ending.warning:
            self.warn(ending.warning)
        self._outcome.usage = usage = self._final()
        self._outcome.finish_reason = ending.stop_reason
        self._outcome.complete = True
        self._sink.end(ending, usage)

    def _final(self) -> Usage:
        if self._usage is not None:
            return self._usage
        self.warn("usage_missing")
        self.measure()
        return self._estimate if self._estimates else Usage()
