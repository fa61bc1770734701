"""A provider's list of models, or one of them, in the shape of the other dialect (mapping 5.7)."""

import math
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from extproc.errors import Rejection
from extproc.providers.profiles import Profile
from extproc.translate import models
from extproc.translate.failures import failure
from extproc.translate.on_messages import errors as of_anthropic
from extproc.translate.on_messages import headers_out as from_anthropic
from extproc.translate.openai_upstream import errors as of_openai
from extproc.translate.openai_upstream import headers_out as from_openai
from extproc.translate.pair import Headers, Json, Outcome, Refusal, Reply, Translated
from extproc.translate.sniff import Collected
from extproc.wire import Dialect
from extproc.wire.lenient import Undecodable, loads

PATH = "/v1/models"
# One call is all that can be made; Anthropic gives this many at most.
_ALL = "limit=1000"
_WINDOWS = ("max_model_len", "context_length", "context_window")


def is_list(path: str) -> bool:
    return path == PATH or path.startswith(f"{PATH}/")


def query_for(client: Dialect, path: str) -> str:
    """What the provider is asked; pages are cut from OpenAI's whole list here."""
    return "" if client == "messages" or path != PATH else _ALL


def to_openai(entry: Json) -> Json:
    """One entry of Anthropic's."""
    return {"id": entry["id"], "object": "model", "created": _seconds(entry.get("created_at")), "owned_by": "anthropic"}


def to_anthropic(entry: Json) -> Json:
    """One entry of OpenAI's, or of a server that adds members of its own."""
    window = next((n for name in _WINDOWS if type(n := entry.get(name)) is int and n > 0), None)
    found = {
        "type": "model",
        "id": entry["id"],
        "display_name": entry["id"],
        "created_at": _moment(entry.get("created")),
        "lifecycle": "active",
        "max_input_tokens": window,
    }
    return {name: value for name, value in found.items() if value is not None}


class ModelLists:
    """Reads the answer for a client that speaks another dialect than the provider."""

    def __init__(self, client: Dialect, path: str, query: str) -> None:
        self._client = client
        self._one = unquote(path.removeprefix(PATH).removeprefix("/"))
        self._query = query

    def reply(self, asked: Translated, content_type: str) -> Reply:
        return _Reply(self)

    def error(self, asked: Translated, status: int, headers: Headers, body: bytes, now: float) -> Refusal:
        rejection = (
            of_openai.refused(status, body, Profile())
            if self._client == "messages"
            else of_anthropic.refused(status, body, Profile(), {})
        )
        return Refusal(rejection=rejection, headers=self.headers(headers, now) | dict(rejection.headers))

    def headers(self, headers: Headers, now: float) -> dict[str, str]:
        if self._client == "messages":
            return from_openai.client_headers(headers, now)
        return from_anthropic.client_headers(headers, now)

    def translated(self, listed: Any, outcome: Outcome) -> bytes | Rejection:
        if not isinstance(listed, dict):
            return _unreadable()
        one = to_anthropic if self._client == "messages" else to_openai
        if self._one:
            return msgspec.json.encode(one(listed)) if isinstance(listed.get("id"), str) else _unreadable()
        data = listed.get("data")
        if not isinstance(data, list):
            return _unreadable()
        entries = [one(entry) for entry in data if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
        if self._client == "messages":
            return models.page(entries, self._query)
        if listed.get("has_more"):
            outcome.warnings.append("approx:data")
        # Codex, which alone says its version, reads `models` and reports an error where it is missing.
        codex: Json = {"models": []} if "client_version" in parse_qs(self._query) else {}
        return msgspec.json.encode({"object": "list", **codex, "data": entries})


class _Reply:
    def __init__(self, lists: ModelLists) -> None:
        self.outcome = Outcome()
        self._lists = lists
        self._body = Collected(self._read, lambda: self._fail(failure("the list is too large", "answer_limit")))

    def feed(self, data: bytes) -> bytes:
        return self._body.feed(data)

    def close(self) -> bytes:
        return self._body.close()

    def ping(self) -> bytes:
        return b""

    def _read(self, body: bytes) -> bytes:
        try:
            found = self._lists.translated(loads(body), self.outcome)
        except Undecodable:
            found = _unreadable()
        if isinstance(found, Rejection):
            return self._fail(found)
        self.outcome.complete = True
        return found

    def _fail(self, rejection: Rejection) -> bytes:
        self.outcome.failure = rejection
        return b""


def _unreadable() -> Rejection:
    return failure("the upstream's list of models cannot be read", "unreadable_answer")


def _seconds(moment: Any) -> int:
    """Of an RFC 3339 moment; 0 where there is none."""
    try:
        at = datetime.fromisoformat(moment)
        return max(0, math.floor((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()))
    except (TypeError, ValueError, OverflowError):
        return 0


def _moment(created: Any) -> str:
    try:
        at = datetime.fromtimestamp(created, UTC) if created else None
    except (TypeError, ValueError, OverflowError, OSError):
        at = None
    return models.EPOCH if at is None else at.strftime("%Y-%m-%dT%H:%M:%SZ")
