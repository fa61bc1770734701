"""The answer of an upstream that counted the tokens of a request: a number, which each dialect names in its own way."""

from collections.abc import Callable
from typing import Any

import msgspec

from extproc.errors import Rejection
from extproc.translate.failures import failure
from extproc.translate.pair import Json, Usage
from extproc.translate.sniff import Reader
from extproc.translate.translated_reply import TranslatedReply
from extproc.wire.lenient import Undecodable, count, loads


class _Sink:
    """One JSON object."""

    def __init__(self) -> None:
        self.done = b""

    def take(self) -> bytes:
        done, self.done = self.done, b""
        return done

    def fail(self, rejection: Rejection) -> None:
        """Nothing has gone out, so the caller's status tells it."""

    def ping(self) -> bytes:
        return b""


class CountReply(TranslatedReply):
    """`member`: of the upstream's answer. `write`: the client's answer. `refuse`: what JSON without a count means."""

    def __init__(
        self, content_type: str, member: str, write: Callable[[int], Json], refuse: Callable[[Any], Rejection]
    ) -> None:
        self._member = member
        self._write = write
        self._refuse = refuse
        self._sink = _Sink()
        super().__init__(content_type, self._sink)

    def _events(self) -> Reader:
        return self._whole()

    def _answer(self, body: bytes) -> Rejection | None:
        try:
            value = loads(body)
        except Undecodable:
            return failure("the upstream's answer cannot be read", "unreadable_answer")
        tokens = count(value.get(self._member)) if isinstance(value, dict) else None
        if tokens is None:
            return self._refuse(value)
        self._sink.done = msgspec.json.encode(self._write(tokens))
        self.outcome.usage = Usage(input_tokens=tokens)
        self.outcome.complete = True
        return None
