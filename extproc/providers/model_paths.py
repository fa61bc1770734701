"""What a path means to a provider, read as the most lenient of servers would read it.

A call that passes through is judged by the path that goes upstream: one that equals a served endpoint there is served
under the rules for models, one that only resembles it is refused, and others that reach a model are named for rules.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from urllib.parse import unquote, urlsplit

import msgspec

from extproc.config import schema
from extproc.config.endpoints import Endpoint, Endpoints, Operation, built_in
from extproc.config.faults import Fault
from extproc.providers.providers import Provider
from extproc.wire import dialects

Segments = tuple[str, ...]

MAX_PATH = 8192
"""Characters. RFC 9110, section 4.1, asks for 8000 octets, and no vendor's API has paths of more than some hundred;
looking through 60 KB takes 20 ms, and whoever asks is not proven yet."""
_DECODINGS = 4
"""Proxies in front of a server may each decode once."""
_END = re.compile(r"[?#\x00]")
_BLANKS = "".join(map(chr, range(0x21))) + "\x7f\xa0"

# Segments by which vendors' APIs reach a model, or prepare a call of one -> the name that rules know them by.
_REACHING: dict[str, str] = {
    "batches": "batches", "batch": "batches", "files": "files", "uploads": "files",
    "completions": "completions", "completion": "completions", "complete": "completions", "edits": "completions",
    "messages": "messages", "responses": "responses", "conversations": "responses",
    "embeddings": "embeddings", "embed": "embeddings", "embedding": "embeddings",
    "rerank": "rerank", "score": "rerank", "pooling": "rerank", "classify": "rerank",
    "images": "images", "image": "images", "videos": "videos", "video": "videos",
    "audio": "audio", "speech": "audio", "transcriptions": "audio", "translations": "audio", "text-to-speech": "audio",
    "realtime": "realtime", "live": "realtime",
    "assistants": "assistants", "threads": "assistants", "runs": "assistants", "agents": "assistants",
    "sessions": "assistants", "workflows": "assistants", "chatkit": "assistants",
    "moderations": "moderations", "fine_tuning": "fine_tuning", "fine-tunes": "fine_tuning", "evals": "evals",
    "generate": "inference", "chat": "inference", "invoke": "inference", "invocations": "inference",
    "invoke-with-response-stream": "inference", "converse": "inference", "converse-stream": "inference",
}  # fmt: skip
# Verbs of Google's form, `models/x:streamGenerateContent`, in lower case.
_VERB = re.compile(r":[a-z]*(generate|predict|embed|batch|infer|complete)")
OTHER = "other"
# A path for each of them that a route may cover, as `check` names it.
_EXAMPLES = (
    "/v1/messages/batches", "/v1/batches", "/v1/files", "/v1/completions", "/v1/embeddings", "/v1/images/generations",
    "/v1/audio/speech", "/v1/videos", "/v1/realtime/sessions", "/v1/assistants", "/v1/responses/compact",
    "/v1/moderations", "/v1/fine_tuning/jobs", "/v1/models/m:generateContent",
)  # fmt: skip


def segments(path: str) -> Segments:
    """Decoded, in lower case, without parameters (`;a=b`), blanks, dots at the end and a query."""
    kept: list[str] = []
    for name in _names(path):
        if name != "..":
            kept.append(name)
        elif kept:
            kept.pop()
    return tuple(kept)


def _names(path: str) -> list[str]:
    """Like `segments`, with the dot segments that a strict reading does not see."""
    for _ in range(_DECODINGS):
        path, before = unquote(path), path
        if path == before:
            break
    text = _END.split(path, maxsplit=1)[0].casefold().replace("\\", "/")
    names = [segment.partition(";")[0].strip(_BLANKS) for segment in text.split("/")]
    return [kept for name in names if (kept := name if name == ".." else name.rstrip("." + _BLANKS))]


def endpoint_upstream(endpoint: Endpoint, path: str, provider: Provider) -> Endpoint | None:
    """What a call is that would pass through: `endpoint` itself, or the served one that `path` is at the provider;
    None: it may be taken for a served one there, or is too long to be looked through."""
    if len(path) > MAX_PATH:
        return None
    upstream = provider.path(path)
    if not _suspect().search(upstream):
        return endpoint
    if served := _served(provider.base_url).get(upstream.rstrip("/")):
        # Its models are those of `models`: a route for everything adds none that has no rules.
        return msgspec.structs.replace(built_in()[served], route=endpoint.route)
    # `/x/..;/messages`, which some servers resolve: no rule has seen what they make of it.
    disguised = ".." in _names(upstream) or _resembles(segments(upstream), provider.base_url)
    return None if disguised else endpoint


def operation(endpoint: Endpoint | None, path: str) -> str:
    """The name that rules know a call by. `path`: the client's, as it is routed."""
    if endpoint is None:
        return "unknown"
    return _reaches(segments(path)) if endpoint.operation is Operation.PASSTHROUGH else str(endpoint.operation)


def unruled(routes: Endpoints, index: int) -> list[str]:
    """Paths behind a passthrough route that reach models where rules of `models` do not apply, one of a kind."""
    found = {path: routes.find("POST", path) for path in _EXAMPLES}
    return [path for path, endpoint in found.items() if endpoint is not None and endpoint.route == index]


def faults(settings: schema.Config, providers: Mapping[str, Provider]) -> Iterator[Fault]:
    """A route that would pass a served path through: the rules of its models would never be asked."""
    for index, route in enumerate(settings.routes):
        provider = providers.get(route.provider or "")
        if route.serve != "passthrough" or provider is None:
            continue
        if provider.access is not None and provider.access.scope is not None:
            problem = f"calls of {provider.name!r} are signed with their bodies, so none can pass through"
            yield Fault(("routes", index, "provider"), problem)
        if route.path.endswith("*"):
            continue
        if served := _served(provider.base_url).get(provider.path(route.path).rstrip("/")):
            name = built_in()[served].dialect
            yield Fault(("routes", index, "serve"), f"this path reaches models at {provider.name}: write serve: {name}")


@lru_cache(maxsize=256)
def _served(base_url: str) -> dict[str, str]:
    """Path at the provider -> ours."""
    provider = Provider("", (), base_url, None)
    found = {provider.path(path.removeprefix("/v1")): path for path in built_in()}
    return found | {provider.path(path): path for path in built_in()}


@cache
def _suspect() -> re.Pattern[str]:
    """No server takes a path without one of these for another one, unless something in it is still encoded."""
    ends = {path.rpartition("/")[2] for path in (row.path for row in dialects.rows())}
    return re.compile("|".join([*map(re.escape, sorted(ends)), "%", r"\.\."]), re.IGNORECASE)


@cache
def _tails() -> tuple[Segments, ...]:
    """What the paths of built-in endpoints end in."""
    return tuple(tuple(path.removeprefix("/v1/").casefold().split("/")) for path in built_in())


@cache
def _unmistakable() -> tuple[Segments, ...]:
    """Returns the paths of two words, such as `chat/completions`, which mean a dialect wherever they stand."""
    mains = (tuple(row.path.removeprefix("/v1/").casefold().split("/")) for row in dialects.rows())
    return tuple(tail for tail in mains if len(tail) > 1)


def _resembles(found: Segments, base_url: str) -> bool:
    base = segments(urlsplit(base_url).path)
    root = base[:-1] if base[-1:] == ("v1",) else base
    places = (base, root)
    return any(found[-len(tail) :] == tail for tail in _unmistakable()) or any(
        found[-len(tail) - 1 :] == ("v1", *tail) or any(found == (*place, *tail) for place in places)
        for tail in _tails()
    )


def _reaches(found: Segments) -> str:
    """The most telling segment is the last: `/v1/messages/batches` are batches, `/v1/threads/x/messages` is of a
    thread."""
    names = [_REACHING[name] for name in found if name in _REACHING]
    if "batches" in names:
        return "batches"
    if "assistants" in names:
        return "assistants"
    if any(_VERB.search(name) for name in found):
        return "inference"
    return names[0] if names else OTHER
