"""Which translator serves a client's dialect with a provider's: all nine pairs of three dialects."""

from collections.abc import Sequence

from extproc.translate.dialects import chat, messages, responses
from extproc.translate.pair import Pair
from extproc.translate.same_dialect.chat import chat_on_chat
from extproc.translate.same_dialect.messages import messages_on_messages
from extproc.translate.same_dialect.responses import responses_on_responses
from extproc.translate.translated import TranslatedPair
from extproc.wire import Dialect

PAIRS: dict[tuple[Dialect, Dialect], Pair] = {
    ("messages", "chat"): TranslatedPair(messages.CLIENT, chat.PROVIDER),
    ("messages", "messages"): messages_on_messages,
    ("messages", "responses"): TranslatedPair(messages.CLIENT, responses.PROVIDER),
    ("chat", "chat"): chat_on_chat,
    ("chat", "messages"): TranslatedPair(chat.CLIENT, messages.PROVIDER),
    ("chat", "responses"): TranslatedPair(chat.CLIENT, responses.PROVIDER),
    ("responses", "chat"): TranslatedPair(responses.CLIENT, chat.PROVIDER),
    ("responses", "messages"): TranslatedPair(responses.CLIENT, messages.PROVIDER),
    ("responses", "responses"): responses_on_responses,
}


def pair_for(client: Dialect, provider: Sequence[Dialect]) -> Pair:
    """The client's own dialect if the provider speaks it, else the translator for the provider's first dialect."""
    return PAIRS[client, client if client in provider else provider[0]]
