"""A Responses client answered by a Messages provider."""

from extproc.errors import Rejection
from extproc.translate.on_messages.errors import refused
from extproc.translate.on_messages.headers_out import client_headers
from extproc.translate.pair import Headers, Json, Refusal, Reply, Target, Translated
from extproc.translate.responses_on_messages.asked import Asked
from extproc.translate.responses_on_messages.replies import ResponsesReply
from extproc.translate.responses_on_messages.request import translate

# Member upstream -> the client's member it was made from.
_MEMBERS = {
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "metadata.user_id": "safety_identifier",
    "output_config.effort": "reasoning.effort",
    "output_config.format": "text.format",
    "system": "instructions",
    "thinking": "reasoning",
}


class ResponsesOnMessages:
    def request(self, body: Json, to: Target) -> Translated | Rejection:
        return translate(body, to)

    def reply(self, asked: Translated, content_type: str) -> Reply:
        return ResponsesReply(_own(asked), content_type)

    def error(self, asked: Translated, status: int, headers: Headers, body: bytes, now: float) -> Refusal:
        rejection = refused(status, body, _own(asked).profile, _MEMBERS)
        return Refusal(rejection=rejection, headers=client_headers(headers, now) | dict(rejection.headers))

    def headers(self, headers: Headers, now: float) -> dict[str, str]:
        return client_headers(headers, now)


def _own(asked: Translated) -> Asked:
    assert isinstance(asked, Asked), "a reply is read by the pair that wrote the request"
    return asked


responses_on_messages = ResponsesOnMessages()
