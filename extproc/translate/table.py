"""Which translator serves a client's dialect with a provider's."""

from collections.abc import Sequence

from extproc.translate.chat_on_chat import chat_on_chat
from extproc.translate.chat_on_messages import chat_on_messages
from extproc.translate.messages_on_chat import messages_on_chat
from extproc.translate.messages_on_messages import messages_on_messages
from extproc.translate.pair import Pair

PAIRS: dict[tuple[str, str], Pair] = {
    ("messages", "chat"): messages_on_chat,
    ("messages", "messages"): messages_on_messages,
    ("chat", "chat"): chat_on_chat,
    ("chat", "messages"): chat_on_messages,
}


def pair_for(client: str, provider: Sequence[str]) -> Pair:
    """The client's own dialect if the provider speaks it, else a translator. Raises KeyError when there is none:
    the configuration's check keeps that from happening."""
    return PAIRS[client, client if client in provider else provider[0]]
