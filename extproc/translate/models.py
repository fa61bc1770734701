"""`GET /v1/models` and `GET /v1/models/{id}` in the shape of the client's dialect (mapping 5.7)."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from extproc.errors import Rejection, invalid, unknown_model
from extproc.providers.providers import Resolved
from extproc.wire import Dialect

# The SDK's own text allows an epoch value where the release date is unknown.
EPOCH = "1970-01-01T00:00:00Z"
# Codex reads `models`, and reports an error at each start where it is missing.
_OPENAIS: dict[str, Any] = {"object": "list", "models": []}
_PATH = "/v1/models"
_DEFAULT_LIMIT, _MAX_LIMIT = 20, 1000


def wanted(path: str) -> str:
    """The name that a path asks for; empty for all of them. Names that only a pattern fits can be asked for, too."""
    return unquote(path.partition(_PATH)[2].removeprefix("/"))


def listing(
    models: Sequence[Resolved], dialect: Dialect, path: str, query: str, merged: bool = False
) -> bytes | Rejection:
    """`models`: what the caller may see, in the configuration's order. `merged`: in the shape of both dialects, which
    both vendors' SDKs read; paged for who asks for pages."""
    entries = {model.name: _both(model) if merged else _entry(model, dialect) for model in models}
    if path.partition(_PATH)[2]:
        return _one(entries, wanted(path))
    listed = list(entries.values())
    if dialect == "messages":
        return page(listed, query, _OPENAIS if merged else {})
    return _page(listed, _OPENAIS) if merged else msgspec.json.encode({**_OPENAIS, "data": listed})


def _both(model: Resolved) -> dict[str, Any]:
    return _entry(model, "chat") | _entry(model, "messages")


def _entry(model: Resolved, dialect: Dialect) -> dict[str, Any]:
    if dialect != "messages":
        return {"id": model.name, "object": "model", "created": 0, "owned_by": model.provider.name}
    entry = {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": EPOCH,
        "lifecycle": "active",
        "max_input_tokens": model.profile.context_window,
        "max_tokens": model.profile.max_output_tokens,
    }
    return {key: value for key, value in entry.items() if value is not None}


def _one(entries: dict[str, dict[str, Any]], name: str) -> bytes | Rejection:
    if name in entries:
        return msgspec.json.encode(entries[name])
    return unknown_model(name)


def page(entries: list[dict[str, Any]], query: str, more: Mapping[str, Any] = {}) -> bytes | Rejection:
    """Of Anthropic's entries, as the query asks. `more`: members of the answer."""
    listed = parse_qs(query)
    # All that is listed is active.
    stages = [
        word for name in ("lifecycle", "lifecycle[]") for value in listed.get(name, ()) for word in value.split(",")
    ]
    entries = entries if not stages or "active" in stages else []
    asked = {name: values[-1] for name, values in listed.items()}
    limit = asked.get("limit", str(_DEFAULT_LIMIT))
    if not limit.isdecimal() or len(limit) > 4 or not 1 <= int(limit) <= _MAX_LIMIT:
        return invalid("limit", f"expected a number from 1 to {_MAX_LIMIT}")
    ids = [entry["id"] for entry in entries]
    first, last, size = 0, len(entries), int(limit)
    if (after := asked.get("after_id")) in ids:
        first = ids.index(after) + 1
    if (before := asked.get("before_id")) in ids:
        last = ids.index(before)
        first = max(first, last - size)
    page = entries[first : min(first + size, last)]
    return _page(page, more, has_more=first > 0 if before in ids else first + size < last)


def _page(entries: list[dict[str, Any]], more: Mapping[str, Any], *, has_more: bool = False) -> bytes:
    ids = [entry["id"] for entry in entries]
    ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
    return msgspec.json.encode({**more, "data": entries, "has_more": has_more, **ends})
