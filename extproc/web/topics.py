"""What the web process serves: one row a topic. Envoy sends exactly these paths to it, past the ext_proc verdict, so a
path here needs a check of its own (`web.context`) unless everybody may use it. Nothing here loads a web framework."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from extproc.config.endpoints import Endpoints
from extproc.config.faults import Fault
from extproc.config.loading import Source
from extproc.config.schema import Config

CLUSTER = "web"
"""Envoy's name for the web process."""
ADDRESS_HEADER = "x-extproc-client-address"
"""The client's address, set by Envoy's route to the web process over whatever a client sent."""
ID = "{id}"
"""Stands for the last segment of a path."""
_ID = "[A-Za-z0-9_-]+"


class Topic(NamedTuple):
    name: str
    """The module below `extproc.web` that serves it."""
    is_on: Callable[[Config], bool]
    paths: tuple[str, ...]
    """Exact paths, one of which may end in ID."""
    max_body_bytes: int = 64 * 1024
    body_seconds: float = 10
    """From a request's headers to the end of its body."""
    yields: bool = False
    """Serves GET alone, and only paths that no configured route has."""


TOPICS: tuple[Topic, ...] = (
    Topic(
        "sign_in",
        lambda config: config.sign_in is not None,
        (
            "/.well-known/oauth-authorization-server",
            "/.well-known/openid-configuration",
            "/.well-known/jwks.json",
            "/oauth/device_authorization",
            "/oauth/authorize",
            "/oauth/token",
            "/oauth/revoke",
            "/oauth/callback",
            "/oauth/console",
            "/device",
            "/device/deny",
        ),
    ),
    # HEAD of `/` is the processor's: Claude Code probes with it.
    Topic("about", lambda config: config.sign_in is not None, ("/", "/protocol"), max_body_bytes=0, yields=True),
    Topic("managed_settings", lambda config: bool(config.managed_settings), ("/managed/settings",), max_body_bytes=0),
    Topic(
        "telemetry",
        lambda config: config.telemetry is not None,
        ("/v1/metrics", "/v1/logs", "/v1/traces"),
        max_body_bytes=4 * 1024 * 1024,
    ),
    Topic(
        "console",
        lambda config: config.console is not None and config.usage is not None,  # a ledger begins with a start
        (
            "/console",
            "/console/health",
            "/console/calls",
            "/console/call",
            "/console/budgets",
            "/console/playground",
            "/console/providers",
            "/console/configuration",
            "/console/open",
            "/console/sign-out",
            "/console/style.css",
            "/console/icon.svg",
        ),
        max_body_bytes=512 * 1024,  # a request in the playground: three characters of a form for each of its bytes
    ),
    Topic(
        "admin",
        lambda config: config.admin is not None,
        (
            "/admin/budgets",
            "/admin/budgets/audit",
            "/v1/organizations/spend_limits",
            "/v1/organizations/spend_limits/effective",
            "/v1/organizations/spend_limits/audit",
            f"/v1/organizations/spend_limits/{ID}",
        ),
        max_body_bytes=16 * 1024,
    ),
)


OFF: dict[str, object] = {"sign_in": None, "managed_settings": [], "telemetry": None, "console": None, "admin": None}
"""What a configuration without any topic has."""


def in_use(config: Config) -> list[Topic]:
    return [topic for topic in TOPICS if topic.is_on(config)]


def paths(config: Config) -> dict[str, Topic]:
    """The paths that Envoy sends to the web process."""
    routes = Endpoints(config.routes)
    return {
        path: topic
        for topic in in_use(config)
        for path in topic.paths
        if not topic.yields or _route(routes, path) is None
    }


def pattern(path: str) -> str | None:
    """Returns the regular expression of a path that ends in ID, for its whole; None: the path stands for itself."""
    return path.replace(ID, _ID) if path.endswith(ID) else None


def shadowed(config: Config) -> dict[int, list[str]]:
    """Index in `routes` -> paths of this route that its calls cannot have, because the web process serves them."""
    routes = Endpoints(config.routes)
    found: dict[int, list[str]] = {}
    for path in paths(config):
        if (index := _route(routes, path)) is not None:
            found.setdefault(index, []).append(path)
    return found


def _route(routes: Endpoints, path: str) -> int | None:
    endpoint = routes.find("GET", path)
    return endpoint.route if endpoint is not None else None


def address(source: Source, processors: Sequence[str]) -> str:
    """Where the web process listens: as configured, else beside the first worker's Unix socket. Raises config.Invalid
    where the workers are on TCP and no address is configured."""
    if source.config.web.address is not None:
        return source.config.web.address
    if not processors[0].startswith("unix:"):
        problem = "is needed where the processor is on TCP: the address of the pages, unix:/PATH or HOST:PORT"
        raise source.explain([Fault(("web", "address"), problem)])
    return processors[0].rpartition("/")[0] + "/web.sock"
