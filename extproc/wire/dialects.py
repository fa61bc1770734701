"""The dialects, one row each: all that the gateway needs to know of a dialect but how its bodies are translated.

translate/dialects/registry.py joins the readers and writers to a row. These rows stand lower, because the
configuration, the providers and the rules ask them, too, and none of these may import translators.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from extproc.errors import Rejection
from extproc.wire import Dialect, chat, messages, responses
from extproc.wire.members import OF_CHAT, OF_MESSAGES, OF_RESPONSES

AUTHORIZATION = "authorization"
LIST_PATH = "/v1/models"
"""Where clients of every dialect ask for the list of models."""


@dataclass(frozen=True, eq=False)
class Envelope:
    """The form of an error that is no part of a stream."""

    body: Callable[[Rejection, str], bytes]
    """Returns a JSON object; the string is the request's id."""
    status: Callable[[Rejection], int]
    """Returns the HTTP status, which this dialect's clients choose their exceptions by."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DialectRow:
    name: Dialect

    # paths
    path: str
    """Where clients ask the gateway."""
    count_path: str = ""
    """Where tokens are counted, below the path of clients and of providers; empty: nowhere."""
    estimates_tokens: bool = False
    """An estimate is an answer where no provider counts: clients plan by it."""
    reads_spend: bool = False
    """Its clients read Anthropic's headers about spend; others read OpenAI's about limits."""
    has_verdicts: bool = False
    """Its clients can ask for verdicts on tool calls (auto mode), by the member `safeguards`."""
    provider_path: str
    """Where providers answer, below their base URL."""
    provider_list_path: str
    """Where providers list their models, below their base URL."""
    base: str = ""
    """All endpoints are served below this path, too: clients of this dialect are configured with it."""
    prefixes: tuple[str, ...] = ()
    """Beginnings of paths, besides `path`, that only a client of this dialect would ask for."""

    # headers
    key_header: str = AUTHORIZATION
    """Carries a provider's key: `authorization` with `Bearer`, any other as it is."""
    provider_headers: Mapping[str, str] = field(default_factory=dict)
    """Providers insist on these; the values are defaults."""
    client_headers: tuple[str, ...] = ()
    """Request headers that only a client of this dialect sends."""
    user_agent: str = ""
    """Part of its clients' `user-agent`, in lower case."""

    # errors and streams
    envelope: Envelope
    error_event: Callable[[Rejection], bytes]
    """Returns the bytes that end a stream which cannot be completed."""
    content: re.Pattern[bytes] = re.compile(b"")
    """Is found in the first event of a stream that holds something of the model's own. Until then another provider's
    answer can take the place of this one."""
    declines: re.Pattern[bytes] | None = None
    """Is found in an answer in which the model declines in its own words, which ends like any other."""
    ping: bytes = messages.KEEP_ALIVE
    """Keeps a client waiting in the midst of a stream; a comment, which every reader of SSE skips, unless its clients
    need more."""

    # members of a request
    members: frozenset[str]
    """Known top-level members, extensions of well-known servers included."""
    turns: str
    """The member with the conversation."""
    limits: tuple[str, ...]
    """Members that limit the tokens of an answer; the highest counts."""
    elsewhere: tuple[str, ...] = ()
    """Members by which the provider adds what it has kept, which nobody here can see."""
    item_references: bool = False
    """An item of the conversation may be a reference to what the provider has kept."""
    example: Mapping[str, Any]
    """A small request, but for its model."""

    def owns(self, path: str) -> bool:
        """Whether this path, or one below it, is for clients of this dialect."""
        return path == self.path or path.startswith((f"{self.path}/", *self.prefixes))


_ANTHROPIC = Envelope(messages.from_rejection, lambda rejection: rejection.http_status)
# OpenAI names the request in a header only; its clients know neither 402 nor 529.
# 529 is Anthropic's own status for an overload (https://platform.claude.com/docs/en/api/errors); OpenAI's libraries
# choose their exception by the status (https://platform.openai.com/docs/guides/error-codes).
_OPENAI = Envelope(lambda rejection, _id: chat.from_rejection(rejection), chat.status)
_QUESTION = {"role": "user", "content": "?"}

_MESSAGES = DialectRow(
    name="messages",
    path="/v1/messages",
    count_path="/count_tokens",
    estimates_tokens=True,
    reads_spend=True,
    has_verdicts=True,
    provider_path="/v1/messages",
    provider_list_path="/v1/models",
    base="/anthropic",
    prefixes=("/v1/messages",),
    key_header="x-api-key",
    # Anthropic refuses a request without a version: https://platform.claude.com/docs/en/api/versioning.
    provider_headers={"anthropic-version": "2023-06-01"},
    client_headers=("anthropic-version",),
    envelope=_ANTHROPIC,
    error_event=lambda rejection: messages.error_event(rejection.kind, rejection.message),
    content=re.compile(rb"content_block_delta|content_block_stop|message_stop"),
    ping=messages.PING,
    members=OF_MESSAGES,
    turns="messages",
    limits=("max_tokens",),
    elsewhere=("thread",),
    example={"max_tokens": 1024, "messages": [_QUESTION]},
)
_CHAT = DialectRow(
    name="chat",
    path="/v1/chat/completions",
    provider_path="/chat/completions",
    provider_list_path="/models",
    prefixes=("/v1/chat/", "/v1/embeddings", "/openai/"),
    client_headers=("openai-organization",),
    user_agent="openai",
    envelope=_OPENAI,
    error_event=lambda rejection: b"data: %b\n\n" % chat.from_rejection(rejection),
    # The first chunk of most servers has a role, and an empty text.
    content=re.compile(rb'"(?:content|reasoning\w*|refusal|arguments|finish_reason)":\s*"[^"]|"tool_calls":\s*\[\s*\{'),
    declines=re.compile(rb'"refusal"\s*:\s*"[^"]'),
    members=OF_CHAT,
    turns="messages",
    limits=("max_completion_tokens", "max_tokens"),
    example={"max_completion_tokens": 1024, "messages": [_QUESTION]},
)
_RESPONSES = DialectRow(
    name="responses",
    path="/v1/responses",
    count_path="/input_tokens",
    provider_path="/responses",
    provider_list_path="/models",
    prefixes=("/v1/responses",),
    envelope=_OPENAI,
    error_event=lambda rejection: responses.failed(rejection, 0),
    declines=re.compile(rb'response\.refusal\.delta|"type"\s*:\s*"refusal"'),
    content=re.compile(rb"\.delta\b|response\.output_item\.done|response\.completed|response\.incomplete"),
    members=OF_RESPONSES,
    turns="input",
    limits=("max_output_tokens",),
    elsewhere=("conversation", "previous_response_id", "prompt"),
    item_references=True,
    example={"max_output_tokens": 1024, "input": [_QUESTION]},
)

_ROWS: dict[Dialect, DialectRow] = {one.name: one for one in (_MESSAGES, _CHAT, _RESPONSES)}

DEFAULT: Dialect = _MESSAGES.name
"""The dialect of a client that nothing tells apart."""
PREFERENCE: tuple[Dialect, ...] = (_RESPONSES.name, _MESSAGES.name, _CHAT.name)
"""Dialects to ask providers in, first the one that loses least of what clients of another dialect say and get: the
Responses dialect carries reasoning from turn to turn, Messages does so with signatures, Chat has no place for it."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def row(name: Dialect) -> DialectRow:
    """Raises KeyError."""
    return _ROWS[name]


def rows() -> tuple[DialectRow, ...]:
    return tuple(_ROWS.values())


def names() -> tuple[Dialect, ...]:
    return tuple(_ROWS)


def at_provider(path: str) -> Dialect | None:
    """Returns the dialect that has this path below a provider's base URL, or None."""
    return next((one.name for one in rows() if path.startswith(one.provider_path)), None)


def add(new: DialectRow) -> None:
    """Adds a dialect, before any configuration is read. Raises ValueError for a name or path that is in use."""
    # `passthrough` is what a route may serve besides dialects.
    if not _NAME.fullmatch(new.name) or new.name == "passthrough":
        raise ValueError(f"a dialect cannot be named {new.name!r}")
    for known in rows():
        if new.name == known.name or new.owns(known.path) or known.owns(new.path):
            raise ValueError(f"the dialect {new.name!r} is in the way of {known.name!r}: both need a name and a path")
    _ROWS[new.name] = new


def is_list(path: str) -> bool:
    """Returns whether a path asks for the list of models, or for one of them."""
    return path == LIST_PATH or path.startswith(f"{LIST_PATH}/")
