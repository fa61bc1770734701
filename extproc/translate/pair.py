"""What a translator between two dialects offers. Pure: no clock, socket, logger; bytes in, values out."""

from collections.abc import Mapping
from typing import Any, Protocol, Self

import msgspec

from extproc.errors import Rejection
from extproc.providers.profiles import Profile
from extproc.wire import Dialect

Json = dict[str, Any]
Headers = Mapping[str, str]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes, and what a pure function may not find out for itself."""

    profile: Profile
    model: str
    """Name the provider knows the model by."""
    nonce: str
    """Unique per exchange; every generated id derives from it, so equal input gives equal bytes."""
    now: float = 0.0
    """Unix seconds: the Chat dialect dates its answers."""
    headers: Headers = {}
    """The client's request headers, lower-case names."""
    raw: bytes = b""
    """The client's body as it came; what passes in its own dialect is cut from it, never re-encoded."""
    settings: Json = {}
    """Top-level members that the configuration sets: defaults where the client named none, and overrides.
    They are part of the decoded body already."""


class Translated(msgspec.Struct, frozen=True, kw_only=True):
    """A request in the provider's dialect, and what its answer will need. Pairs extend it."""

    path: str
    """Below the provider's base URL, with a leading slash."""
    dialect: Dialect = ""
    """Which one it is written in; job.request_for sets it."""
    root: bool = False
    """The path is beside the base URL's `/v1`, not below it."""
    body: bytes
    headers: Headers = {}
    """More request headers for the upstream, such as `anthropic-version`."""
    stream: bool
    counting: bool = False
    """The provider is to count its tokens, and nothing else."""
    model: str
    """The name the client asked for; answers carry it."""
    warnings: tuple[str, ...] = ()
    silent: bool = False
    """They are for the log only."""
    max_tokens: int | None = None
    """As sent upstream, after clamping."""
    sent: int = 0
    """Bytes of a body that is gone."""
    answer: str = ""
    """Not empty: a sentence for a model, which the client gets as an answer. No upstream is asked."""

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return self.sent or len(self.body)

    def without_body(self) -> Self:
        """What an answer needs, which may take minutes."""
        return msgspec.structs.replace(self, body=b"", sent=len(self.body))


class Counted(msgspec.Struct, frozen=True):
    """Tokens that were estimated here, and the answer that says so."""

    tokens: int
    answer: Json


class OwnAnswer(msgspec.Struct, frozen=True):
    """A sentence for a model, which the client gets as an answer. No provider is asked."""

    text: str
    stream: bool


RequestOutcome = Translated | Counted | OwnAnswer | Rejection
"""What comes of a client's request."""


# OpenAI counts what came from the cache within the prompt, Anthropic beside it:
# https://platform.claude.com/docs/en/build-with-claude/prompt-caching#tracking-cache-performance.
class Usage(msgspec.Struct, kw_only=True):
    """Tokens in Anthropic's arithmetic: the four parts do not overlap (mapping 2.2)."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_creation_1h_input_tokens: int = 0
    """Part of cache_creation_input_tokens: what is kept for an hour, which costs more."""
    thinking_tokens: int | None = None
    """Part of output_tokens; None: not reported."""
    web_searches: int = 0
    """How often the upstream itself searched the web."""
    service_tier: str = ""
    """How the provider served the call, in its own word; prices depend on it. Empty: not said."""
    estimated: bool = False
    """The provider has not counted the whole of it yet."""
    reported: bool = True
    """The provider has counted a part of it, at least."""


def estimated_tokens(size: int) -> int:
    """Returns an estimate for text with this number of UTF-8 bytes."""
    return (size + 3) // 4


class Outcome(msgspec.Struct, kw_only=True):
    """What a reply turned out to be; grows while it is read. For the record."""

    usage: Usage | None = None
    model: str = ""
    """The upstream's own name for the model that answered."""
    finish_reason: str = ""
    """In the client's dialect."""
    warnings: list[str] = []
    failure: Rejection | None = None
    """Set once: the answer is not complete, and the client has been or must be told."""
    begun: bool = False
    """A stream's first event has come: what goes wrong now is said in the stream, however its bytes were cut."""
    complete: bool = False
    keepalive_seen: bool = False
    """The upstream has said that it is there (a comment), which is nothing for the client."""
    media: str = ""
    """Media type of what the client gets, if it is not the one its request asks for."""


class Reply(Protocol):
    """Reads one upstream answer of status 200 and writes it in the client's form.

    Until a stream has begun the caller holds the response headers: if `outcome.failure` is set then, the caller
    drops the returned bytes and answers with the failure's status. Afterwards the bytes carry the dialect's own
    error event. Nothing follows a failure.
    """

    outcome: Outcome

    def feed(self, data: bytes) -> bytes: ...

    def close(self) -> bytes:
        """The upstream's body is at its end; the answer is complete or failed after this."""
        ...

    def ping(self) -> bytes:
        """What keeps the client waiting at this moment; empty where the form allows nothing."""
        ...


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream's error answer in the client's dialect (mapping 5)."""

    rejection: Rejection
    headers: dict[str, str]
    """Besides content-type: retry and rate-limit headers, request ids."""
    answer: bytes = b""
    """Not empty: what the client gets instead, with status 200 and in the form it asked for (`filter_as_refusal`)."""
    body: bytes = b""
    """Not empty: the upstream's own words, sent with exactly the rejection's status."""


class Reader(Protocol):
    """Reads what a provider answers."""

    def reply(self, asked: Translated, content_type: str) -> Reply:
        """Reader for a 2xx answer. The upstream's media type beats the request's `stream`:
        JSON becomes events for a client that asked for a stream, SSE becomes one message for one that did not."""
        ...

    def error(self, asked: Translated, status: int, headers: Headers, body: bytes, now: float) -> Refusal:
        """`now`: Unix seconds, for reset times."""
        ...

    def headers(self, headers: Headers, now: float) -> dict[str, str]:
        """All response headers a client gets of an upstream's 2xx answer, save content-type (an allow-list)."""
        ...


class Pair(Reader, Protocol):
    """Translates between a client's dialect and a provider's."""

    def request(self, body: Json, to: Target) -> Translated | Rejection: ...
