"""The readers and writers of each dialect, joined to its row (wire/dialects.py): all that a dialect is.

docs/dialects.md says how one is added, here or in a package of its own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from extproc.translate.dialects import chat, messages, responses
from extproc.translate.list_shapes import ANTHROPIC, OPENAI, ListShape
from extproc.translate.pair import Pair
from extproc.translate.same_dialect.chat import chat_on_chat
from extproc.translate.same_dialect.messages import messages_on_messages
from extproc.translate.same_dialect.responses import responses_on_responses
from extproc.translate.translated import ClientSide, ProviderSide, TranslatedPair
from extproc.wire import Dialect, dialects
from extproc.wire.dialects import DialectRow


@dataclass(frozen=True, eq=False, kw_only=True)
class Halves:
    """How a dialect is translated."""

    client: ClientSide
    provider: ProviderSide
    model_list: ListShape = OPENAI
    same: Pair | None = None
    """Passes the bytes of a client to a provider of the same dialect. None: they are translated like any others."""


_HALVES: dict[Dialect, Halves] = {
    "messages": Halves(
        client=messages.CLIENT,
        provider=messages.PROVIDER,
        model_list=ANTHROPIC,
        same=messages_on_messages,
    ),
    "chat": Halves(client=chat.CLIENT, provider=chat.PROVIDER, same=chat_on_chat),
    "responses": Halves(client=responses.CLIENT, provider=responses.PROVIDER, same=responses_on_responses),
}


def halves(dialect: Dialect) -> Halves:
    """Raises KeyError."""
    return _HALVES[dialect]


def register(row: DialectRow, new: Halves) -> None:
    """Adds a dialect, before any configuration is read. Raises ValueError for a name or path that is in use."""
    dialects.add(row)
    _HALVES[row.name] = new


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
