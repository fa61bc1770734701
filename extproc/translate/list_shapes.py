"""Lists of models in the shapes of the two vendors (docs/mapping.md 5.7); a dialect has one of them, or its own."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import msgspec

from extproc.errors import Rejection, invalid
from extproc.translate.pair import Json

# The SDK's own text allows an epoch value where the release date is unknown.
_EPOCH = "1970-01-01T00:00:00Z"
# https://platform.claude.com/docs/en/api/models-list: a page has 20 models unless the query names another number.
# OpenAI's list has no pages.
_DEFAULT_LIMIT, _MAX_LIMIT = 20, 1000
# vLLM's, OpenRouter's and Groq's names of it; OpenAI says nothing of it.
_WINDOWS = ("max_model_len", "context_length", "context_window")


class ListedModel(msgspec.Struct, frozen=True, kw_only=True):
    """What lists say of a model."""

    name: str
    created: float = 0
    """Unix seconds; 0: unknown."""
    owner: str
    context_window: int | None = None
    """Tokens."""
    max_output_tokens: int | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class ListShape:
    read: Callable[[Json], ListedModel]
    """Reads an entry, whose `id` is a string."""
    write: Callable[[ListedModel], Json]
    page: Callable[[list[Json], str, Mapping[str, Any]], bytes | Rejection]
    """Returns the part of a list that a query asks for, with these members beside the entries."""
    members: Mapping[str, Any]
    """What stands beside the entries in a list of the gateway's own."""
    query_for_all: str = ""
    """Asks a provider for as many as it gives at once."""


def whole(entries: list[Json], more: Mapping[str, Any], *, has_more: bool = False) -> bytes:
    """Returns a page as Anthropic writes it."""
    names = [entry["id"] for entry in entries]
    ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
    return msgspec.json.encode({**more, "data": entries, "has_more": has_more, **ends})


def _page(entries: list[Json], query: str, more: Mapping[str, Any]) -> bytes | Rejection:
    listed = parse_qs(query)
    # All that is listed is active.
    # Anthropic's SDKs write a list in a query as `lifecycle[]=active`.
    stages = [
        word for name in ("lifecycle", "lifecycle[]") for value in listed.get(name, ()) for word in value.split(",")
    ]
    entries = entries if not stages or "active" in stages else []
    wanted = {name: values[-1] for name, values in listed.items()}
    limit = wanted.get("limit", str(_DEFAULT_LIMIT))
    if not limit.isdecimal() or len(limit) > 4 or not 1 <= int(limit) <= _MAX_LIMIT:
        return invalid("limit", f"expected a number from 1 to {_MAX_LIMIT}")
    names = [entry["id"] for entry in entries]
    first, last, size = 0, len(entries), int(limit)
    if (after := wanted.get("after_id")) in names:
        first = names.index(after) + 1
    if (before := wanted.get("before_id")) in names:
        last = names.index(before)
        first = max(first, last - size)
    page = entries[first : min(first + size, last)]
    return whole(page, more, has_more=first > 0 if before in names else first + size < last)


def _read_anthropic(entry: Json) -> ListedModel:
    return ListedModel(name=entry["id"], created=_seconds(entry.get("created_at")), owner="anthropic")


def _write_anthropic(model: ListedModel) -> Json:
    # SDKs' types require all of these but the two limits.
    entry = {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": _moment(model.created),
        "lifecycle": "active",
        "max_input_tokens": model.context_window,
        "max_tokens": model.max_output_tokens,
    }
    return {key: value for key, value in entry.items() if value is not None}


def _read_openai(entry: Json) -> ListedModel:
    """Also of a server that adds members of its own."""
    window = next((n for name in _WINDOWS if type(n := entry.get(name)) is int and n > 0), None)
    created = entry.get("created")
    return ListedModel(
        name=entry["id"],
        created=created if isinstance(created, int | float) else 0,
        owner=str(entry.get("owned_by", "")),
        context_window=window,
    )


def _write_openai(model: ListedModel) -> Json:
    return {"id": model.name, "object": "model", "created": math.floor(model.created), "owned_by": model.owner}


def _seconds(moment: Any) -> int:
    """Returns the Unix seconds of a moment in the form of RFC 3339; 0 where there is none."""
    try:
        at = datetime.fromisoformat(moment)
        return max(0, math.floor((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()))
    except (TypeError, ValueError, OverflowError):
        return 0


def _moment(created: float) -> str:
    try:
        at = datetime.fromtimestamp(created, UTC) if created else None
    except (ValueError, OverflowError, OSError):
        at = None
    return _EPOCH if at is None else at.strftime("%Y-%m-%dT%H:%M:%SZ")


ANTHROPIC = ListShape(
    read=_read_anthropic,
    write=_write_anthropic,
    page=_page,
    members={},
    query_for_all=f"limit={_MAX_LIMIT}",
)
OPENAI = ListShape(
    read=_read_openai,
    write=_write_openai,
    page=lambda entries, _query, more: msgspec.json.encode({**more, "data": entries}),
    # Codex reads `models`, and reports an error at each start where it is missing.
    members={"object": "list", "models": []},
)
