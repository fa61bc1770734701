"""The answer of a provider that counted the tokens of a request: a number, which each dialect names in its own way."""

from collections.abc import Callable
from typing import Any

import msgspec

from extproc.errors import Rejection
from extproc.translate.pair import Json, Outcome, Usage
from extproc.translate.provider_error import failure
from extproc.translate.sniff import Collected, Reader, Sniffer
from extproc.wire.lenient import Undecodable, count, loads


class CountReply:
    """A Reply (pair.py)."""

    def __init__(
        self, content_type: str, member: str, write: Callable[[int], Json], refuse: Callable[[Any], Rejection]
    ) -> None:
        """`member`: of the provider's answer. `write`: the client's answer. `refuse`: JSON without a count."""
        self.outcome = Outcome()
        self._member = member
        self._write = write
        self._refuse = refuse
        self._body = Sniffer(content_type, self._whole, self._whole)

    def feed(self, data: bytes) -> bytes:
        return self._body.feed(data)

    def close(self) -> bytes:
        return self._body.close()

    def ping(self) -> bytes:
        return b""

    def _whole(self) -> Reader:
        too_large = failure("the upstream's answer is too large", "answer_limit")
        return Collected(self._read, lambda: self._fail(too_large))

    def _read(self, body: bytes) -> bytes:
        try:
            value = loads(body)
        except Undecodable:
            return self._fail(failure("the upstream's answer cannot be read", "unreadable_answer"))
        tokens = count(value.get(self._member)) if isinstance(value, dict) else None
        if tokens is None:
            return self._fail(self._refuse(value))
        self.outcome.usage = Usage(input_tokens=tokens)
        self.outcome.complete = True
        return msgspec.json.encode(self._write(tokens))

    def _fail(self, rejection: Rejection) -> bytes:
        """Nothing has gone out, so that the status says it."""
        self.outcome.failure = rejection
        return b""
