"""Which translator serves a client's dialect with a provider's."""

from collections.abc import Sequence

from extproc.translate.chat_on_chat import chat_on_chat
from extproc.translate.chat_on_messages import chat_on_messages
from extproc.translate.dialects.chat import ChatClient, ChatProvider
from extproc.translate.dialects.responses import ResponsesClient, ResponsesProvider
from extproc.translate.messages_on_chat import messages_on_chat
from extproc.translate.messages_on_messages import messages_on_messages
from extproc.translate.messages_on_responses import messages_on_responses
from extproc.translate.pair import Pair
from extproc.translate.responses_on_messages import responses_on_messages
from extproc.translate.responses_on_responses import responses_on_responses
from extproc.translate.translated import TranslatedPair

PAIRS: dict[tuple[str, str], Pair] = {
    ("messages", "chat"): messages_on_chat,
    ("messages", "messages"): messages_on_messages,
    ("messages", "responses"): messages_on_responses,
    ("chat", "chat"): chat_on_chat,
    ("chat", "messages"): chat_on_messages,
    ("chat", "responses"): TranslatedPair(ChatClient(), ResponsesProvider()),
    ("responses", "chat"): TranslatedPair(ResponsesClient(), ChatProvider()),
    ("responses", "messages"): responses_on_messages,
    ("responses", "responses"): responses_on_responses,
}


def pair_for(client: str, provider: Sequence[str]) -> Pair | None:
    """The client's own dialect if the provider speaks it, else the translator for the first of the provider's
    dialects that has one. None: what the client speaks cannot be brought to this provider."""
    spoken = [client] if client in provider else provider
    return next((PAIRS[client, dialect] for dialect in spoken if (client, dialect) in PAIRS), None)
