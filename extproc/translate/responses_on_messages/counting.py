"""`/v1/responses/input_tokens` answered by Anthropic's count of tokens (mapping 5.6)."""

import msgspec

from extproc.errors import Rejection
from extproc.translate import count
from extproc.translate.failures import failure
from extproc.translate.pair import Json, Outcome, Reply, Target, Translated, Usage
from extproc.translate.responses_on_messages import ResponsesOnMessages, request
from extproc.translate.sniff import Collected
from extproc.wire.lenient import Undecodable, decode


class Counted(msgspec.Struct):
    input_tokens: int | None = None


_decoder = msgspec.json.Decoder(Counted)


class InputTokensOnMessages(ResponsesOnMessages):
    def request(self, body: Json, to: Target) -> Translated | Rejection:
        return request.count(body, to, ("model", *count.INPUT))

    def reply(self, asked: Translated, content_type: str) -> Reply:
        return CountReply()


class CountReply:
    def __init__(self) -> None:
        self.outcome = Outcome()
        self._body = Collected(self._read, lambda: self._fail("is too large"))

    def feed(self, data: bytes) -> bytes:
        return self._body.feed(data)

    def close(self) -> bytes:
        return self._body.close()

    def ping(self) -> bytes:
        return b""

    def _read(self, body: bytes) -> bytes:
        try:
            n = decode(body, _decoder).input_tokens
        except Undecodable:
            n = None
        if n is None:
            return self._fail("cannot be read")
        self.outcome.usage = Usage(input_tokens=n)
        self.outcome.complete = True
        return msgspec.json.encode({"object": "response.input_tokens", "input_tokens": n})

    def _fail(self, problem: str) -> bytes:
        self.outcome.failure = failure(f"the upstream's answer {problem}", "unreadable_answer")
        return b""


input_tokens_on_messages = InputTokensOnMessages()
