"""`/v1/responses/input_tokens` answered by Anthropic's count of tokens (mapping 5.6)."""

from typing import Any

from extproc.errors import Rejection
from extproc.translate import count
from extproc.translate.count_reply import CountReply
from extproc.translate.failures import failure
from extproc.translate.pair import Json, Reply, Target, Translated
from extproc.translate.responses_on_messages import ResponsesOnMessages, request


class InputTokensOnMessages(ResponsesOnMessages):
    def request(self, body: Json, to: Target) -> Translated | Rejection:
        return request.count(body, to, ("model", *count.INPUT))

    def reply(self, asked: Translated, content_type: str) -> Reply:
        return CountReply(content_type, "input_tokens", _counted, _uncounted)


def _counted(tokens: int) -> Json:
    return {"object": "response.input_tokens", "input_tokens": tokens}


def _uncounted(_: Any) -> Rejection:
    return failure("the upstream did not count the tokens", "unreadable_answer")


input_tokens_on_messages = InputTokensOnMessages()
