"""Anthropic's Messages (https://platform.claude.com/docs/en/api/messages)."""

from extproc.translate.dialects.messages import errors
from extproc.translate.dialects.messages.read_answer import StreamReader, read_whole
from extproc.translate.dialects.messages.write_request import write_request
from extproc.translate.translated import ProviderSide

PROVIDER = ProviderSide(
    write_request=write_request,
    reader=StreamReader,
    read_whole=read_whole,
    read_error=errors.by_status,
)
