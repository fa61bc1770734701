"""Path -> operation and dialect: what a caller may ask for."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from extproc.config.schema import PASSTHROUGH, Route
from extproc.events import Headers
from extproc.wire import Dialect, cloud_apis, dialects
from extproc.wire.cloud_api import CloudApi, CloudCall, CloudPath
from extproc.wire.dialects import LIST_PATH, DialectRow
from extproc.wire.paths import canonical


class Operation(StrEnum):
    GENERATE = "generate"
    COUNT_TOKENS = "count_tokens"
    LIST_MODELS = "list_models"
    SHOW_USAGE = "show_usage"
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
    cloud: CloudCall | None = None
    """The form of a cloud that the call has around its dialect's."""


_MODELS = Endpoint("models", Operation.LIST_MODELS, None, "GET")
USAGE_PATHS = ("/v1/usage", "/api/oauth/usage")
"""The second one is asked by Claude Code's `/usage`."""
_USAGE = Endpoint("usage", Operation.SHOW_USAGE, None, "GET")
_PASSTHROUGH = Endpoint("passthrough", Operation.PASSTHROUGH, None, "")

# Claude Code asks these before anything else, without a credential, and only wants an answer.
PROBES = frozenset({"/", "/api/hello"})
_PROBE = Endpoint("probe", Operation.PROBE, dialects.DEFAULT, "HEAD")


def built_in() -> dict[str, Endpoint]:
    """Returns the endpoints of all dialects by path."""
    found: dict[str, Endpoint] = {}
    for row in dialects.rows():
        found[row.path] = Endpoint(row.name, Operation.GENERATE, row.name, "POST")
        if row.count_path:
            name = row.count_path.strip("/")
            found[row.path + row.count_path] = Endpoint(name, Operation.COUNT_TOKENS, row.name, "POST")
    return found


class CloudMount(NamedTuple):
    """A place where a cloud's API is served."""

    base: str
    api: CloudApi
    provider: str | None = None
    route: int | None = None

    def find(self, path: str) -> Endpoint | None:
        found = self.api.find(path.removeprefix(self.base).rstrip("/")) if path.startswith(f"{self.base}/") else None
        return self._endpoint(*found) if found is not None else None

    def _endpoint(self, entry: CloudPath, model: str) -> Endpoint:
        operation = Operation(entry.operation)
        lists = operation is Operation.LIST_MODELS
        call = CloudCall(self.api, model, entry.stream, counts=operation is Operation.COUNT_TOKENS)
        method = "GET" if lists else "POST"
        return Endpoint(self.api.name, operation, entry.dialect, method, self.provider, self.route, call)


class Endpoints:
    """The routes of the configuration, most specific first, with the built-in ones among them."""

    def __init__(self, routes: Sequence[Route], shows_usage: bool = False) -> None:
        """`shows_usage`: callers may ask for their own budgets."""
        self._exact: dict[str, Endpoint] = {}
        self._prefixes: dict[str, Endpoint] = {}
        self._built_in = built_in()
        self._clouds = [CloudMount(api.base, api) for api in cloud_apis.rows()]
        self._mount("", dialects.DEFAULT)
        for row in dialects.rows():
            if row.base:
                self._mount(row.base, row.name)
        if shows_usage:
            self._exact |= dict.fromkeys(USAGE_PATHS, _USAGE)
        for index, route in enumerate(routes):
            self._add(index, route)
        # Longest first: the one that says most about the path.
        self._by_prefix = sorted(self._prefixes.items(), key=lambda entry: -len(entry[0]))
        self._clouds.sort(key=lambda mount: (-len(mount.base), mount.route is None))

    def find(self, method: str, path: str) -> Endpoint | None:
        """`path`: in its one spelling, without its query. The caller checks the method of what is found."""
        if method == "HEAD" and path in PROBES:
            return _PROBE
        # A provider may take a slash more for the same path: it must not lead past the rules for models.
        if found := self._exact.get(path) or self._exact.get(path.rstrip("/")):
            return found
        if self._is_disguised(path):
            return None
        prefix, passing = next((entry for entry in self._by_prefix if path.startswith(entry[0])), ("", None))
        for mount in self._clouds:
            if (passing is None or len(mount.base) > len(prefix)) and (found := mount.find(path)):
                return found
        return passing

    def _add(self, index: int, route: Route) -> None:
        path = route.path.removesuffix("*")
        path = canonical(path) if "%" in path else path
        if api := cloud_apis.row(route.serve):
            self._clouds.append(CloudMount(path.rstrip("/"), api, route.provider, index))
            return
        if route.serve != PASSTHROUGH:
            self._mount(path.rstrip("/"), route.serve, route.provider, index)
            return
        endpoint = msgspec.structs.replace(_PASSTHROUGH, provider=route.provider, route=index)
        if not route.path.endswith("*"):
            self._exact[path] = endpoint
            return
        self._prefixes[path] = endpoint
        if route.path == "*":
            # Who passes on whatever is asked wants the provider's own list of models, too.
            self._exact[LIST_PATH] = endpoint
            self._prefixes[f"{LIST_PATH}/"] = endpoint

    def _mount(self, base: str, dialect: Dialect, provider: str | None = None, route: int | None = None) -> None:
        """`base` itself is the dialect's main endpoint; below it are those of all dialects."""
        for path, endpoint in self._built_in.items():
            self._exact[base + path] = msgspec.structs.replace(endpoint, provider=provider, route=route)
        if base:
            main = self._built_in[dialects.row(dialect).path]
            self._exact[base] = msgspec.structs.replace(main, provider=provider, route=route)
        models = msgspec.structs.replace(_MODELS, route=route)
        self._exact[base + LIST_PATH] = models
        self._prefixes[f"{base}{LIST_PATH}/"] = models

    def _is_disguised(self, path: str) -> bool:
        """`/V1/messages`, `/v1/messages;a=b`: a lax provider may take it for the real one, which has rules for
        models."""
        lower = path.lower()
        return any(lower.startswith(known) and not path.startswith(f"{known}/") for known in self._built_in)


def dialect_of(path: str, headers: Headers) -> Dialect:
    """The dialect of a caller where no endpoint says it: as the path, else the headers suggest."""
    found = _by_path(path) or _by_headers(headers)
    if found is None and path.startswith(LIST_PATH):
        found = _by_key(headers)
    found = found or _by_agent(headers)
    return found.name if found else dialects.DEFAULT


def _by_path(path: str) -> DialectRow | None:
    base, bare = None, path
    for row in dialects.rows():
        if row.base and path.startswith(row.base):
            base, bare = row, path.removeprefix(row.base)
            break
    for row in dialects.rows():
        if row.owns(bare):
            return row
    return base


def _by_headers(headers: Headers) -> DialectRow | None:
    for row in dialects.rows():
        for name in row.client_headers:
            if headers.get(name):
                return row
    return None


def _by_agent(headers: Headers) -> DialectRow | None:
    agent = headers.get("user-agent").lower()
    return next((row for row in dialects.rows() if row.user_agent and row.user_agent in agent), None) if agent else None


def _by_key(headers: Headers) -> DialectRow:
    """The first dialect whose clients carry their key so; `authorization` counts before all others."""
    rows = dialects.rows()
    names = (dialects.AUTHORIZATION, *(row.key_header for row in rows))
    carried = next(filter(headers.get, names), dialects.AUTHORIZATION)
    return next(row for row in rows if row.key_header == carried)
