"""A Chat Completions client answered by a Messages provider."""

from typing import ClassVar

from extproc.errors import Rejection
from extproc.translate.chat_on_messages.asked import Asked
from extproc.translate.chat_on_messages.replies import ChatReply
from extproc.translate.chat_on_messages.request import translate
from extproc.translate.on_messages.errors import Members
from extproc.translate.on_messages.pairs import OnMessagesPair
from extproc.translate.pair import Json, Reply, Target, Translated


class ChatOnMessages(OnMessagesPair):
    members: ClassVar[Members] = {
        "stop_sequences": "stop",
        "output_config.effort": "reasoning_effort",
        "output_config.format": "response_format",
        "thinking": "reasoning_effort",
        "metadata.user_id": "safety_identifier",
        "system": "messages",
    }

    def request(self, body: Json, to: Target) -> Translated | Rejection:
        return translate(body, to)

    def reply(self, asked: Translated, content_type: str) -> Reply:
        assert isinstance(asked, Asked), "a reply is read by the pair that wrote the request"
        return ChatReply(asked, content_type)


chat_on_messages = ChatOnMessages()
