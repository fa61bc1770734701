"""The API in which a cloud serves a dialect: paths that name the model, and bodies, errors and streams of its own.

A call in such a form is opened into the dialect's before rules see its body, and its answer is written in the
cloud's form from the dialect's. The rows are in wire/cloud_apis.py.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote

import msgspec

from extproc.errors import Rejection, invalid
from extproc.events import Headers
from extproc.wire import Dialect, untrusted

Members = dict[str, msgspec.Raw]

_members = untrusted.decoder(Members)
_betas = untrusted.decoder(list[str])
_text = untrusted.decoder(str)
_encode = msgspec.json.Encoder().encode
_BETA = re.compile(r"[A-Za-z0-9._-]{1,100}")
_MAX_BETAS = 100
_BLANKS = b" \t\r\n"
_ANTHROPIC_BETAS = {"tool-search-tool-2025-10-19": "advanced-tool-use-2025-11-20"}
"""A cloud's name of a beta -> Anthropic's
(https://platform.claude.com/docs/en/agents-and-tools/tool-use/tool-search-tool)."""


@dataclass(frozen=True, kw_only=True)
class CloudPath:
    pattern: re.Pattern[str]
    """Below the API's base. The group `model` is the model's id, where the path names one."""
    operation: str
    """`generate`, `count_tokens` or `list_models`."""
    dialect: Dialect
    stream: bool | None = None
    """Whether the path asks for a stream; None: the body says."""


class DialectError(msgspec.Struct, frozen=True):
    """An error as the dialect's writer words it."""

    type: str = ""
    message: str = ""


class CloudError(msgspec.Struct, frozen=True):
    status: int
    body: bytes
    headers: Mapping[str, str] = {}


class StreamWriter(Protocol):
    """Writes a stream of server-sent events in another framing."""

    def write(self, data: bytes, *, end: bool) -> bytes: ...


@dataclass(frozen=True, eq=False, kw_only=True)
class CloudApi:
    name: str
    """As routes name it in `serve`."""
    base: str
    """Where it is served without a route."""
    paths: tuple[CloudPath, ...]
    media: frozenset[str] = frozenset({"application/json"})
    """Types of a request's body."""
    signed: bool = False
    """Clients may put a signature into `authorization`, which proves nothing here and counts as absent."""
    key_header: str = ""
    """A further header for the caller's credential, besides those of the configuration."""
    count_request: Callable[[bytes], bytes | Rejection] = lambda body: body
    """Takes the dialect's body out of a request to count tokens."""
    count_answer: Callable[[bytes], bytes] = lambda body: body
    list_answer: Callable[[list[str], str], bytes] | None = None
    """Writes the list of these models, or the entry of one that the path names; None: in the dialect's shape."""
    error: Callable[[int, DialectError, bytes], CloudError] = lambda status, _error, body: CloudError(status, body)
    """Takes the dialect's status, error and bytes."""
    stream_media: str = ""
    """Media type of streams; empty: the dialect's."""
    stream: Callable[[], StreamWriter] | None = None
    """None: streams are the dialect's."""
    headers: Callable[[str], Mapping[str, str]] = lambda _request_id: {}
    """Takes the call's id, and returns headers of every answer."""

    def find(self, path: str) -> "tuple[CloudPath, str] | None":
        """Returns the entry for a path below the base, and the model's id in it, which may be empty."""
        for entry in self.paths:
            if found := entry.pattern.fullmatch(path):
                return entry, unquote(found.groupdict().get("model") or "")
        return None

    def presented(self, headers: Headers) -> Headers:
        """Returns the headers as callers are identified by them."""
        return Headers(
            ("x-api-key" if name == self.key_header else name, value)
            for name, value in headers
            if not (self.signed and name == "authorization" and value.startswith("AWS4-"))
        )


class CloudCall(msgspec.Struct, frozen=True):
    """A call in a cloud's form."""

    api: CloudApi
    model: str
    """The id in its path; empty: the body names the model, if anything does."""
    stream: bool | None
    """Whether the path asks for a stream; None: the body says."""
    counts: bool = False
    """It counts tokens."""

    def open(self, raw: bytes) -> "OpenedBody | Rejection":
        """Returns what a body says beside the dialect's members."""
        body = self.api.count_request(raw) if self.counts else raw
        if isinstance(body, Rejection):
            return body
        try:
            members = _members.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return invalid("", f"the body is not a JSON object: {error}", code="")
        if not _same(body, _encode(members)):
            return invalid("", "a name stands twice in the body, or is written with escapes", code="")
        # The cloud's own version of the API; Anthropic's own is a header:
        # https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai.
        members.pop("anthropic_version", None)
        betas = _read_betas(members.pop("anthropic_beta", None))
        if isinstance(betas, Rejection):
            return betas
        if self.counts:
            for name in _NOT_COUNTED & members.keys():
                del members[name]
        return OpenedBody(members, self.model or _read_model(members), betas, self.stream)


_NOT_COUNTED = frozenset(
    {"max_tokens", "metadata", "service_tier", "stop_sequences", "stream", "temperature", "top_k", "top_p"}
)
"""Members of a whole request that Anthropic refuses where tokens are counted."""


def _same(raw: bytes, written: bytes) -> bool:
    """Returns False where a name came twice or with escapes; telling which would take long for a large body."""
    return len(raw) == len(written) or raw.translate(None, _BLANKS) == written.translate(None, _BLANKS)


class OpenedBody(msgspec.Struct, frozen=True):
    members: Members
    model: str
    betas: tuple[str, ...]
    """By the cloud's names."""
    stream: bool | None

    def written(self, model: str) -> bytes:
        """Returns the dialect's body, for the model of this name."""
        members: dict[str, Any] = dict(self.members)
        if model:
            members["model"] = model
        if self.stream is not None:
            members.pop("stream", None)
            if self.stream:
                members["stream"] = True
        return _encode(members)


def _read_model(members: Members) -> str:
    """Returns an empty string for what is no name; the step that looks the model up refuses it."""
    try:
        return _text.decode(members.get("model", b'""'))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def _read_betas(raw: msgspec.Raw | None) -> tuple[str, ...] | Rejection:
    if raw is None or bytes(raw) == b"null":
        return ()
    try:
        betas = _betas.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return invalid("anthropic_beta", "Input should be a valid list of strings")
    if len(betas) > _MAX_BETAS or not all(map(_BETA.fullmatch, betas)):
        return invalid("anthropic_beta", "Input should be a list of names of betas")
    return tuple(betas)


def anthropic_betas(betas: Iterable[str]) -> tuple[str, ...]:
    """Returns each beta once, by Anthropic's name."""
    return tuple(dict.fromkeys(_ANTHROPIC_BETAS.get(beta, beta) for beta in betas))


_ARN = re.compile(r"arn:[^/]+/(.+)")
# `us.anthropic.claude-sonnet-4-20250514-v1:0`: region or `global`, vendor, name with its date, version
# (https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html).
_ON_BEDROCK = re.compile(r"(?:[a-z]{2,6}(?:-[a-z]+)?\.)?anthropic\.([a-z0-9.-]+?)(?:-v\d+(?::\w+)*)?")
# `claude-sonnet-4@20250514` (https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai).
_ON_VERTEX = re.compile(r"([a-z0-9.-]+)@(?:(\d{8})|default|latest)")
_DATE = re.compile(r"-\d{8}$")


def names_of(model: str) -> tuple[str, ...]:
    """Returns the names by which `models` may know a cloud's model id: the vendor's own name, which a pattern that fits
    any name gets, the id, the id without its ARN, and the vendor's name without its date."""
    arn = _ARN.fullmatch(model)
    bare = arn[1] if arn else model
    own = _own_name(bare)
    names = (own, model, bare, _DATE.sub("", own)) if own else (bare, model)
    return tuple(dict.fromkeys(names))


def _own_name(model: str) -> str:
    """Returns an empty string for an id in no cloud's form."""
    if found := _ON_BEDROCK.fullmatch(model):
        return found[1]
    if found := _ON_VERTEX.fullmatch(model):
        return f"{found[1]}-{found[2]}" if found[2] else found[1]
    return ""
