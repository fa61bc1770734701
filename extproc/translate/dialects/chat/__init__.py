"""OpenAI's Chat Completions (https://platform.openai.com/docs/api-reference/chat)."""

from extproc.translate import openai_errors
from extproc.translate.dialects.chat.read_answer import StreamReader, read_whole
from extproc.translate.dialects.chat.read_request import read_request
from extproc.translate.dialects.chat.write_answer import ChatWriter
from extproc.translate.dialects.chat.write_request import accepts, write_request
from extproc.translate.response_headers import for_openai_client
from extproc.translate.translated import ClientSide, ProviderSide

CLIENT = ClientSide(
    members={
        "input": "messages",
        "instructions": "messages",
        "max_output_tokens": "max_completion_tokens",
        "metadata.user_id": "safety_identifier",
        "output_config.effort": "reasoning_effort",
        "output_config.format": "response_format",
        "reasoning": "reasoning_effort",
        "stop_sequences": "stop",
        "system": "messages",
        "text.format": "response_format",
        "text.verbosity": "verbosity",
        "thinking": "reasoning_effort",
    },
    read_request=read_request,
    writer=ChatWriter,
    client_headers=for_openai_client,
)
PROVIDER = ProviderSide(
    write_request=write_request,
    reader=StreamReader,
    read_whole=read_whole,
    read_error=openai_errors.by_status,
    accepts=accepts,
)
