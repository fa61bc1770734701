"""The list of models, or one of them, in the shape of the client's dialect (docs/mapping.md 5.7): what the
configuration names, or a provider's own list.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from extproc.errors import Rejection, unknown_model
from extproc.providers.catalogue import Resolved
from extproc.providers.profiles import Profile
from extproc.translate.answer_body import WholeReply
from extproc.translate.dialects.registry import halves
from extproc.translate.list_shapes import ANTHROPIC, OPENAI, ListedModel, ListShape, whole
from extproc.translate.pair import Headers, Json, Outcome, Refusal, Reply, Translated
from extproc.translate.provider_error import failure
from extproc.wire import Dialect
from extproc.wire.dialects import LIST_PATH
from extproc.wire.lenient import Undecodable, loads


def wanted(path: str) -> str:
    """The name that a path asks for; empty for all of them. Names that only a pattern fits can be asked for, too."""
    # Names such as `openai/gpt-5` hold a slash, which SDKs escape.
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


def is_foreign(client: Dialect, provider: Sequence[Dialect]) -> bool:
    """Whether a provider of these dialects lists its models in another shape than the client reads."""
    return all(halves(name).model_list is not halves(client).model_list for name in provider)


class ModelLists:
    """Reads the answer for a client that speaks another dialect than the provider."""

    def __init__(self, client: Dialect, provider: Dialect, path: str, query: str) -> None:
        """`query`: the client's."""
        self._client = client
        self._provider = halves(provider)
        self._is_list = path.removeprefix(LIST_PATH) in ("", "/")
        self._query = query

    @property
    def query(self) -> str:
        """What the provider is asked: for its whole list, since pages are cut from it here."""
        return self._provider.model_list.query_for_all if self._is_list else ""

    def reply(self, asked: Translated, content_type: str) -> Reply:
        return _Reply(self)

    def error(self, asked: Translated, status: int, headers: Headers, body: bytes, now: float) -> Refusal:
        read = self._provider.provider.read_error(status, body, Profile())
        rejection = halves(self._client).client.own_words(read)
        return Refusal(rejection=rejection, headers=self.headers(headers, now) | dict(rejection.headers))

    def headers(self, headers: Headers, now: float) -> dict[str, str]:
        return halves(self._client).client.client_headers(headers, now)

    def translated(self, listed: Any, outcome: Outcome) -> bytes | Rejection:
        if not isinstance(listed, dict):
            return _unreadable()
        shape = halves(self._client).model_list
        if not self._is_list:
            return msgspec.json.encode(self._entry(listed)) if isinstance(listed.get("id"), str) else _unreadable()
        data = listed.get("data")
        if not isinstance(data, list):
            return _unreadable()
        entries = [self._entry(one) for one in data if isinstance(one, dict) and isinstance(one.get("id"), str)]
        # An ext_proc filter lets Envoy ask once for a request, so there is no second page (docs/mapping.md 5.7).
        if listed.get("has_more"):
            outcome.warnings.append("approx:data")
        return shape.page(entries, self._query, _members(shape, self._query))

    def _entry(self, entry: Json) -> Json:
        return halves(self._client).model_list.write(self._provider.model_list.read(entry))


def _members(shape: ListShape, query: str) -> Json:
    """Only Codex says its version; only for it is `models` needed."""
    codex = "client_version" in parse_qs(query)
    return {name: value for name, value in shape.members.items() if codex or value}


class _Reply(WholeReply):
    def __init__(self, lists: ModelLists) -> None:
        super().__init__(self.collected(self._read, "the list is too large"))
        self._lists = lists

    def _read(self, body: bytes) -> bytes:
        try:
            found = self._lists.translated(loads(body), self.outcome)
        except Undecodable:
            found = _unreadable()
        if isinstance(found, Rejection):
            return self.fail(found)
        self.outcome.complete = True
        return found


def _unreadable() -> Rejection:
    return failure("the upstream's list of models cannot be read", "unreadable_answer")
