"""OpenAI's Chat Completions (https://platform.openai.com/docs/api-reference/chat)."""

from collections.abc import Mapping
from typing import ClassVar

from extproc.errors import Rejection
from extproc.translate import openai_errors
from extproc.translate.answer_events import AnswerEvent
from extproc.translate.conversation import Conversation
from extproc.translate.dialects.chat.read_answer import StreamReader, read_whole
from extproc.translate.dialects.chat.read_request import read_request
from extproc.translate.dialects.chat.write_answer import ChatWriter
from extproc.translate.dialects.chat.write_request import write_request
from extproc.translate.openai_headers import client_headers
from extproc.translate.pair import Headers, Json, Target
from extproc.translate.translated import AnswerReader, AnswerWriter, TranslatedRequest, WrittenRequest
from extproc.translate.warnings import Warnings


class ChatClient:
    """A ClientSide (translated.py)."""

    members: ClassVar[Mapping[str, str]] = {
        "input": "messages",
        "instructions": "messages",
        "max_output_tokens": "max_completion_tokens",
        "reasoning": "reasoning_effort",
        "text.format": "response_format",
        "text.verbosity": "verbosity",
    }

    def read_request(self, body: Json, target: Target, warnings: Warnings) -> Conversation:
        return read_request(body, target, warnings)

    def writer(self, request: TranslatedRequest) -> AnswerWriter:
        return ChatWriter(request)

    def client_headers(self, headers: Headers, now: float) -> dict[str, str]:
        return client_headers(headers, now)


class ChatProvider:
    """A ProviderSide (translated.py)."""

    def write_request(self, conversation: Conversation, target: Target, warnings: Warnings) -> WrittenRequest:
        return write_request(conversation, target, warnings)

    def reader(self, request: TranslatedRequest) -> AnswerReader:
        return StreamReader(request)

    def read_whole(self, body: bytes, request: TranslatedRequest) -> list[AnswerEvent]:
        return read_whole(body, request)

    def read_error(self, status: int, body: bytes, request: TranslatedRequest) -> Rejection:
        return openai_errors.by_status(status, body, request.profile)
