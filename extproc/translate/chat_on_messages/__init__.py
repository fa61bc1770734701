"""A Chat Completions client answered by a Messages provider."""

from extproc.errors import Rejection
from extproc.translate.chat_on_messages.asked import Asked
from extproc.translate.chat_on_messages.replies import ChatReply
from extproc.translate.chat_on_messages.request import translate
from extproc.translate.on_messages.errors import refused
from extproc.translate.on_messages.headers_out import client_headers
from extproc.translate.pair import Headers, Json, Refusal, Reply, Target, Translated

# Member upstream -> the client's member it was made from.
_MEMBERS = {
    "stop_sequences": "stop",
    "output_config.effort": "reasoning_effort",
    "output_config.format": "response_format",
    "thinking": "reasoning_effort",
    "metadata.user_id": "safety_identifier",
    "system": "messages",
}


class ChatOnMessages:
    def request(self, body: Json, to: Target) -> Translated | Rejection:
        return translate(body, to)

    def reply(self, asked: Translated, content_type: str) -> Reply:
        return ChatReply(_own(asked), content_type)

    def error(self, asked: Translated, status: int, headers: Headers, body: bytes, now: float) -> Refusal:
        rejection = refused(status, body, _own(asked).profile, _MEMBERS)
        return Refusal(rejection=rejection, headers=client_headers(headers, now) | dict(rejection.headers))

    def headers(self, headers: Headers, now: float) -> dict[str, str]:
        return client_headers(headers, now)


def _own(asked: Translated) -> Asked:
    assert isinstance(asked, Asked), "a reply is read by the pair that wrote the request"
    return asked


chat_on_messages = ChatOnMessages()
