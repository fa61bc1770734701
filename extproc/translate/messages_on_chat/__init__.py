"""A Messages client answered by a Chat Completions provider."""

from extproc.errors import Rejection
from extproc.translate.for_messages.asked import Asked
from extproc.translate.messages_on_chat.replies import MessagesReply, refusal_answer
from extproc.translate.messages_on_chat.request import translate
from extproc.translate.openai_upstream.errors import is_filtered, refused
from extproc.translate.openai_upstream.headers_out import client_headers
from extproc.translate.pair import Headers, Json, Refusal, Reply, Target, Translated


class MessagesOnChat:
    def request(self, body: Json, to: Target) -> Translated | Rejection:
        return translate(body, to)

    def reply(self, asked: Translated, content_type: str) -> Reply:
        return MessagesReply(_own(asked), content_type)

    def error(self, asked: Translated, status: int, headers: Headers, body: bytes, now: float) -> Refusal:
        own = _own(asked)
        rejection = refused(status, body, own.profile)
        answer = (
            refusal_answer(own, rejection.message) if own.profile.filter_as_refusal and is_filtered(rejection) else b""
        )
        found = client_headers(headers, now) | dict(rejection.headers)
        return Refusal(rejection=rejection, headers=found, answer=answer)

    def headers(self, headers: Headers, now: float) -> dict[str, str]:
        return client_headers(headers, now)


def _own(asked: Translated) -> Asked:
    assert isinstance(asked, Asked), "a reply is read by the pair that wrote the request"
    return asked


messages_on_chat = MessagesOnChat()
