"""Answers of a Messages upstream for a Responses client."""

from extproc.errors import Rejection
from extproc.translate.on_messages.answer import read_answer
from extproc.translate.on_messages.stream import MessagesStream
from extproc.translate.responses_on_messages.answer_state import AnswerState
from extproc.translate.responses_on_messages.asked import Asked
from extproc.translate.responses_on_messages.output import Output
from extproc.translate.sniff import Reader
from extproc.translate.translated_reply import TranslatedReply


class ResponsesReply(TranslatedReply):
    def __init__(self, asked: Asked, content_type: str) -> None:
        self._asked = asked
        self._written = Output(asked)
        super().__init__(content_type, self._written)

    def _events(self) -> Reader:
        return MessagesStream(self._state(), self._written, self.outcome, self._asked.profile)

    def _answer(self, body: bytes) -> Rejection | None:
        return read_answer(body, self._state(), self._asked.profile)

    def _state(self) -> AnswerState:
        return AnswerState(self._asked, self._written, self.outcome)
