"""A Responses client answered by a Messages provider."""

from typing import ClassVar

from extproc.errors import Rejection
from extproc.translate.on_messages.errors import Members
from extproc.translate.on_messages.pairs import OnMessagesPair
from extproc.translate.pair import Json, Reply, Target, Translated
from extproc.translate.responses_on_messages.asked import Asked
from extproc.translate.responses_on_messages.replies import ResponsesReply
from extproc.translate.responses_on_messages.request import translate


class ResponsesOnMessages(OnMessagesPair):
    members: ClassVar[Members] = {
        "max_tokens": "max_output_tokens",
        "messages": "input",
        "metadata.user_id": "safety_identifier",
        "output_config.effort": "reasoning.effort",
        "output_config.format": "text.format",
        "system": "instructions",
        "thinking": "reasoning",
    }

    def request(self, body: Json, to: Target) -> Translated | Rejection:
        return translate(body, to)

    def reply(self, asked: Translated, content_type: str) -> Reply:
        assert isinstance(asked, Asked), "a reply is read by the pair that wrote the request"
        return ResponsesReply(asked, content_type)


responses_on_messages = ResponsesOnMessages()
