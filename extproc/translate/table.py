"""Which translator serves a client's dialect with a provider's."""

from collections.abc import Mapping, Sequence

from extproc.translate.chat_on_chat import chat_on_chat
from extproc.translate.chat_on_messages import chat_on_messages
from extproc.translate.messages_on_chat import messages_on_chat
from extproc.translate.messages_on_messages import messages_on_messages
from extproc.translate.pair import Pair
from extproc.translate.responses_on_messages import responses_on_messages
from extproc.translate.responses_on_messages.counting import input_tokens_on_messages
from extproc.translate.responses_on_responses import responses_on_responses

PAIRS: dict[tuple[str, str], Pair] = {
    ("messages", "chat"): messages_on_chat,
    ("messages", "messages"): messages_on_messages,
    ("chat", "chat"): chat_on_chat,
    ("chat", "messages"): chat_on_messages,
    ("responses", "messages"): responses_on_messages,
    ("responses", "responses"): responses_on_responses,
}

COUNTERS: dict[tuple[str, str], Pair] = {("responses", "messages"): input_tokens_on_messages}
"""Those who count tokens between two dialects that both have a way to ask for it."""


def pair_for(client: str, provider: Sequence[str]) -> Pair | None:
    """The client's own dialect if the provider speaks it, else the translator for the first of the provider's
    dialects that has one. None: what the client speaks cannot be brought to this provider."""
    return _first(PAIRS, client, [client] if client in provider else provider)


def counter_for(client: str, provider: Sequence[str]) -> Pair | None:
    """For a provider that does not speak the client's dialect. None: nobody can be asked."""
    return _first(COUNTERS, client, provider)


def _first(pairs: Mapping[tuple[str, str], Pair], client: str, spoken: Sequence[str]) -> Pair | None:
    return next((pairs[client, dialect] for dialect in spoken if (client, dialect) in pairs), None)
