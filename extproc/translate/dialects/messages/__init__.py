"""Anthropic's Messages (https://platform.claude.com/docs/en/api/messages)."""

from extproc.translate.dialects.messages import read_answer
from extproc.translate.dialects.messages.read_answer import StreamReader, read_whole
from extproc.translate.dialects.messages.read_request import read_request
from extproc.translate.dialects.messages.write_answer import MessagesWriter
from extproc.translate.dialects.messages.write_request import write_request
from extproc.translate.openai_errors import in_anthropic_words
from extproc.translate.response_headers import for_messages_client
from extproc.translate.translated import ClientSide, ProviderSide

CLIENT = ClientSide(
    members={},
    read_request=read_request,
    writer=MessagesWriter,
    client_headers=for_messages_client,
    own_words=in_anthropic_words,
    answers_for_filters=True,
)
PROVIDER = ProviderSide(
    write_request=write_request,
    reader=StreamReader,
    read_whole=read_whole,
    read_error=read_answer.by_status,
)
