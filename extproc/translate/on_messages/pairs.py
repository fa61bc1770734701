"""What every pair of an OpenAI client and a Messages provider does alike."""

from abc import ABC, abstractmethod
from typing import ClassVar

from extproc.errors import Rejection
from extproc.translate.on_messages.asked import Asked
from extproc.translate.on_messages.errors import Members, refused
from extproc.translate.on_messages.headers_out import client_headers
from extproc.translate.pair import Headers, Json, Refusal, Reply, Target, Translated


class OnMessagesPair(ABC):
    """A Pair (pair.py)."""

    members: ClassVar[Members]

    @abstractmethod
    def request(self, body: Json, to: Target) -> Translated | Rejection: ...

    @abstractmethod
    def reply(self, asked: Translated, content_type: str) -> Reply: ...

    def error(self, asked: Translated, status: int, headers: Headers, body: bytes, now: float) -> Refusal:
        assert isinstance(asked, Asked), "an error is read by the pair that wrote the request"
        rejection = refused(status, body, asked.profile, self.members)
        return Refusal(rejection=rejection, headers=client_headers(headers, now) | dict(rejection.headers))

    def headers(self, headers: Headers, now: float) -> dict[str, str]:
        return client_headers(headers, now)
