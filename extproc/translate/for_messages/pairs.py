"""What every pair of a Messages client and an OpenAI-type provider does alike."""

from abc import ABC, abstractmethod

from extproc.errors import Rejection
from extproc.translate.for_messages.asked import Asked
from extproc.translate.for_messages.reply import refusal_answer
from extproc.translate.openai_upstream.errors import is_filtered, refused
from extproc.translate.openai_upstream.headers_out import client_headers
from extproc.translate.pair import Headers, Json, Refusal, Reply, Target, Translated


class MessagesPair(ABC):
    """A Pair (pair.py)."""

    @abstractmethod
    def request(self, body: Json, to: Target) -> Translated | Rejection: ...

    @abstractmethod
    def read(self, asked: Asked, content_type: str) -> Reply: ...

    def reply(self, asked: Translated, content_type: str) -> Reply:
        return self.read(_own(asked), content_type)

    def error(self, asked: Translated, status: int, headers: Headers, body: bytes, now: float) -> Refusal:
        own = _own(asked)
        rejection = refused(status, body, own.profile)
        as_answer = own.profile.filter_as_refusal and is_filtered(rejection)
        return Refusal(
            rejection=rejection,
            headers=client_headers(headers, now) | dict(rejection.headers),
            answer=refusal_answer(own, rejection.message) if as_answer else b"",
        )

    def headers(self, headers: Headers, now: float) -> dict[str, str]:
        return client_headers(headers, now)


def _own(asked: Translated) -> Asked:
    assert isinstance(asked, Asked), "a reply is read by the pair that wrote the request"
    return asked
