"""Which translator serves a client's dialect with a provider's: one for every two of the registered dialects."""

from collections.abc import Iterator, Mapping
from functools import cache

from extproc.translate.dialects.registry import halves
from extproc.translate.messages_on_chat import messages_on_chat
from extproc.translate.messages_on_responses import messages_on_responses
from extproc.translate.pair import Pair
from extproc.translate.translated import TranslatedPair
from extproc.wire import Dialect, dialects

# Until Messages clients have their half.
_DIRECT: dict[tuple[Dialect, Dialect], Pair] = {
    ("messages", "chat"): messages_on_chat,
    ("messages", "responses"): messages_on_responses,
}


class Pairs(Mapping[tuple[Dialect, Dialect], Pair]):
    """(client, provider) -> translator."""

    def __getitem__(self, key: tuple[Dialect, Dialect]) -> Pair:
        return _pair(*key)

    def __iter__(self) -> Iterator[tuple[Dialect, Dialect]]:
        names = dialects.names()
        return ((client, provider) for client in names for provider in names)

    def __len__(self) -> int:
        return len(dialects.names()) ** 2


PAIRS = Pairs()


@cache
def _pair(client: Dialect, provider: Dialect) -> Pair:
    if client == provider and (same := halves(client).same) is not None:
        return same
    if (client, provider) in _DIRECT:
        return _DIRECT[client, provider]
    reads = halves(client).client
    if reads is None:
        raise KeyError((client, provider))
    return TranslatedPair(reads, halves(provider).provider)
