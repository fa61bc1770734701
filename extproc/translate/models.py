"""The list of models, or one of them, in the shape of the client's dialect (docs/mapping.md 5.7)."""

from collections.abc import Sequence
from urllib.parse import unquote

import msgspec

from extproc.errors import Rejection, unknown_model
from extproc.providers.providers import Resolved
from extproc.translate.dialects.registry import halves
from extproc.translate.list_shapes import ANTHROPIC, OPENAI, ListedModel, whole
from extproc.translate.pair import Json
from extproc.wire import Dialect
from extproc.wire.dialects import LIST_PATH


def wanted(path: str) -> str:
    """The name that a path asks for; empty for all of them. Names that only a pattern fits can be asked for, too."""
    return unquote(path.partition(LIST_PATH)[2].removeprefix("/"))


def listing(
    models: Sequence[Resolved], dialect: Dialect, path: str, query: str, merged: bool = False
) -> bytes | Rejection:
    """`models`: what the caller may see, in the configuration's order. `merged`: in the shape of both vendors, which
    both vendors' SDKs read; paged for who asks for pages."""
    shape = halves(dialect).model_list
    write = _write_both if merged else shape.write
    entries = {model.name: write(_listed(model)) for model in models}
    if path.partition(LIST_PATH)[2]:
        return _one(entries, wanted(path))
    listed, more = list(entries.values()), OPENAI.members if merged else shape.members
    return whole(listed, more) if merged and shape is OPENAI else shape.page(listed, query, more)


def _listed(model: Resolved) -> ListedModel:
    return ListedModel(
        name=model.name,
        owner=model.provider.name,
        context_window=model.profile.context_window,
        max_output_tokens=model.profile.max_output_tokens,
    )


def _write_both(model: ListedModel) -> Json:
    return OPENAI.write(model) | ANTHROPIC.write(model)


def _one(entries: dict[str, Json], name: str) -> bytes | Rejection:
    if name in entries:
        return msgspec.json.encode(entries[name])
    return unknown_model(name)
