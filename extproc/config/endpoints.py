"""Path -> operation and dialect: what a caller may ask for."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from extproc.config.schema import Route
from extproc.events import Headers
from extproc.wire import Dialect
from extproc.wire.paths import canonical


class Operation(StrEnum):
    GENERATE = "generate"
    COUNT_TOKENS = "count_tokens"
    LIST_MODELS = "list_models"
    PROBE = "probe"
    PASSTHROUGH = "passthrough"


READS_BODY = frozenset({Operation.GENERATE, Operation.COUNT_TOKENS})


class Endpoint(msgspec.Struct, frozen=True):
    name: str
    operation: Operation
    dialect: Dialect | None
    """None: as the request's headers suggest."""
    method: str
    """Empty: any."""
    provider: str | None = None
    """Answers where no rule of `models` does."""
    route: int | None = None
    """Which of `routes` made it; None: built in."""


_MESSAGES = Endpoint("messages", Operation.GENERATE, "messages", "POST")
_COUNT_TOKENS = Endpoint("count_tokens", Operation.COUNT_TOKENS, "messages", "POST")
_CHAT = Endpoint("chat", Operation.GENERATE, "chat", "POST")
_RESPONSES = Endpoint("responses", Operation.GENERATE, "responses", "POST")
_INPUT_TOKENS = Endpoint("input_tokens", Operation.COUNT_TOKENS, "responses", "POST")
_MODELS = Endpoint("models", Operation.LIST_MODELS, None, "GET")
_PROBE = Endpoint("probe", Operation.PROBE, "messages", "HEAD")
_PASSTHROUGH = Endpoint("passthrough", Operation.PASSTHROUGH, None, "")

BUILT_IN: dict[str, Endpoint] = {
    "/v1/messages": _MESSAGES,
    "/v1/messages/count_tokens": _COUNT_TOKENS,
    "/v1/chat/completions": _CHAT,
    "/v1/responses": _RESPONSES,
    "/v1/responses/input_tokens": _INPUT_TOKENS,
}
_MAIN: dict[str, Endpoint] = {"messages": _MESSAGES, "chat": _CHAT, "responses": _RESPONSES}
"""What a route serves at its own path."""
_LISTS = "/v1/models"

# Claude Code asks these before anything else, without a credential, and only wants an answer.
PROBES = frozenset({"/", "/api/hello"})


class Endpoints:
    """The routes of the configuration, most specific first, with the built-in ones among them."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._exact: dict[str, Endpoint] = {}
        self._prefixes: dict[str, Endpoint] = {}
        self._mount("", _MESSAGES)
        self._mount("/anthropic", _MESSAGES)
        for index, route in enumerate(routes):
            self._add(index, route)
        # Longest first: the one that says most about the path.
        self._by_prefix = sorted(self._prefixes.items(), key=lambda entry: -len(entry[0]))

    def find(self, method: str, path: str) -> Endpoint | None:
        """`path`: in its one spelling, without its query. The caller checks the method of what is found."""
        if method == "HEAD" and path in PROBES:
            return _PROBE
        # A provider may take a slash more for the same path: it must not lead past the rules for models.
        if found := self._exact.get(path) or self._exact.get(path.rstrip("/")):
            return found
        return (
            None
            if _in_disguise(path)
            else next((endpoint for prefix, endpoint in self._by_prefix if path.startswith(prefix)), None)
        )

    def _add(self, index: int, route: Route) -> None:
        path = route.path.removesuffix("*")
        path = canonical(path) if "%" in path else path
        if route.serve != "passthrough":
            self._mount(path.rstrip("/"), _MAIN[route.serve], route.provider, index)
            return
        endpoint = msgspec.structs.replace(_PASSTHROUGH, provider=route.provider, route=index)
        if not route.path.endswith("*"):
            self._exact[path] = endpoint
            return
        self._prefixes[path] = endpoint
        if route.path == "*":
            # Who passes on whatever is asked wants the provider's own list of models, too.
            self._exact[_LISTS] = endpoint
            self._prefixes[f"{_LISTS}/"] = endpoint

    def _mount(self, base: str, alone: Endpoint, provider: str | None = None, route: int | None = None) -> None:
        """`base` itself is the dialect's main endpoint; below it are all of them."""
        for path, endpoint in BUILT_IN.items():
            self._exact[base + path] = msgspec.structs.replace(endpoint, provider=provider, route=route)
        if base:
            self._exact[base] = msgspec.structs.replace(alone, provider=provider, route=route)
        models = msgspec.structs.replace(_MODELS, route=route)
        self._exact[base + _LISTS] = models
        self._prefixes[f"{base}{_LISTS}/"] = models


def _in_disguise(path: str) -> bool:
    """`/V1/messages`, `/v1/messages;a=b`: a lax provider may take it for the real one, which has rules for models."""
    lower = path.lower()
    return any(lower.startswith(known) and not path.startswith(f"{known}/") for known in BUILT_IN)


def dialect_of(path: str, headers: Headers) -> Dialect:
    """The dialect of a caller where no endpoint says it: as the path, else the headers suggest."""
    if path.removeprefix("/anthropic").startswith("/v1/responses"):
        return "responses"
    if path.startswith(("/v1/chat/", "/v1/embeddings")):
        return "chat"
    if path.startswith(("/v1/messages", "/anthropic")) or headers.get("anthropic-version"):
        return "messages"
    if path.startswith(_LISTS):
        only_api_key = headers.get("x-api-key") and not headers.get("authorization")
        return "messages" if only_api_key else "chat"
    openai = "openai" in headers.get("user-agent").lower() or headers.get("openai-organization")
    return "chat" if openai else "messages"
