"""A Messages client answered by a Chat Completions provider."""

from extproc.errors import Rejection
from extproc.translate.for_messages.asked import Asked
from extproc.translate.for_messages.pairs import MessagesPair
from extproc.translate.messages_on_chat.replies import ChatReply
from extproc.translate.messages_on_chat.request import translate
from extproc.translate.pair import Json, Reply, Target, Translated


class MessagesOnChat(MessagesPair):
    def request(self, body: Json, to: Target) -> Translated | Rejection:
        return translate(body, to)

    def read(self, asked: Asked, content_type: str) -> Reply:
        return ChatReply(asked, content_type)


messages_on_chat = MessagesOnChat()
