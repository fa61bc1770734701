"""Which translator serves a client's dialect with a provider's: one for every two of the registered dialects."""

from collections.abc import Iterator, Mapping
from functools import cache

from extproc.translate.dialects.registry import halves
from extproc.translate.pair import Pair
from extproc.translate.translated import TranslatedPair
from extproc.wire import Dialect, dialects


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
    same = halves(client).same if client == provider else None
    return same or TranslatedPair(halves(client).client, halves(provider).provider)
