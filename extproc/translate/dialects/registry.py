"""The readers and writers of each dialect, joined to its row (wire/dialects.py): all that a dialect is.

docs/dialects.md says how one is added, here or in a package of its own.
"""

from dataclasses import dataclass

from extproc.translate.dialects import chat, messages, responses
from extproc.translate.dialects.chat import same_dialect as chat_same_dialect
from extproc.translate.dialects.messages import same_dialect as messages_same_dialect
from extproc.translate.dialects.responses import same_dialect as responses_same_dialect
from extproc.translate.list_shapes import ANTHROPIC, OPENAI, ListShape
from extproc.translate.pair import Pair
from extproc.translate.translated import ClientSide, ProviderSide
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
        same=messages_same_dialect.SAME,
    ),
    "chat": Halves(client=chat.CLIENT, provider=chat.PROVIDER, same=chat_same_dialect.SAME),
    "responses": Halves(client=responses.CLIENT, provider=responses.PROVIDER, same=responses_same_dialect.SAME),
}


def halves(dialect: Dialect) -> Halves:
    """Raises KeyError."""
    return _HALVES[dialect]


def register(row: DialectRow, new: Halves) -> None:
    """Adds a dialect, before any configuration is read. Raises ValueError for a name or path that is in use."""
    dialects.add(row)
    _HALVES[row.name] = new
