"""OpenAI's Responses (https://platform.openai.com/docs/api-reference/responses)."""

from extproc.translate import openai_errors
from extproc.translate.dialects.responses.read_answer import StreamReader, read_whole
from extproc.translate.dialects.responses.read_request import read_request
from extproc.translate.dialects.responses.write_answer import ResponsesWriter
from extproc.translate.dialects.responses.write_request import write_request
from extproc.translate.response_headers import for_openai_client
from extproc.translate.translated import ClientSide, ProviderSide

CLIENT = ClientSide(
    members={
        "messages": "input",
        "max_completion_tokens": "max_output_tokens",
        "max_tokens": "max_output_tokens",
        "metadata.user_id": "safety_identifier",
        "output_config.effort": "reasoning.effort",
        "output_config.format": "text.format",
        "reasoning_effort": "reasoning.effort",
        "response_format": "text.format",
        "system": "instructions",
        "thinking": "reasoning",
        "verbosity": "text.verbosity",
    },
    read_request=read_request,
    writer=ResponsesWriter,
    client_headers=for_openai_client,
)
PROVIDER = ProviderSide(
    write_request=write_request,
    reader=StreamReader,
    read_whole=read_whole,
    read_error=openai_errors.by_status,
)
