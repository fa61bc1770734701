"""Answers of a Responses upstream for a Messages client."""

from extproc.errors import Rejection
from extproc.translate.for_messages.reply import MessagesReply
from extproc.translate.messages_on_responses.answer import read_answer
from extproc.translate.messages_on_responses.answer_state import AnswerState
from extproc.translate.messages_on_responses.stream import ResponsesStream
from extproc.translate.sniff import Reader


class ResponsesReply(MessagesReply):
    def _events(self) -> Reader:
        return ResponsesStream(self._asked, self._sink, self.outcome)

    def _answer(self, body: bytes) -> Rejection | None:
        return read_answer(body, AnswerState(self._asked, self._sink, self.outcome), self._asked.profile)
