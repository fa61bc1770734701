"""What the gateway says about itself to whoever asks: a page for people at `/`, and `/protocol` for authors of clients.

Both are for strangers, so nothing is there that the sign-in's metadata would not say.
"""

from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from extproc.config.schema import Config
from extproc.web import pages, topics
from extproc.web.context import Context
from extproc.wire import dialects

_PROTOCOL = """# How clients use this gateway

| request | credential | purpose |
|---|---|---|
{rows}

An access token goes out as `authorization: Bearer TOKEN` and is good for {seconds} seconds. Refresh it before.
A 401 with `x-should-retry: false` means: sign in again. Unknown form fields, headers and members are ignored.
"""
_TOPICS = {
    "managed_settings": ("GET", "settings that Claude Code takes at each start, with an `etag`"),
    "telemetry": ("POST", "OpenTelemetry (OTLP over HTTP, protobuf)"),
}


def routes(context: Context) -> list[Route]:
    config = context.gateway.source.config

    async def home(request: Request) -> Response:
        assert config.sign_in is not None
        return pages.page(
            "A gateway to language models",
            pages.text("Claude Code, on a machine that your company has set up for it: start claude and type /login."),
            pages.text(f"Other programs: extproc login --gateway {config.sign_in.public_url}"),
            pages.text("Authors of clients find the requests at /protocol."),
        )

    async def protocol(request: Request) -> Response:
        return Response(protocol_page(config), media_type="text/markdown")

    return [Route("/", home, methods=["GET"]), Route("/protocol", protocol, methods=["GET"])]


def protocol_page(config: Config) -> str:
    """Returns the description of all requests, in Markdown. `config`: one with `sign_in`."""
    assert config.sign_in is not None
    rows = (f"| `{request}` | {credential} | {purpose} |" for request, credential, purpose in _requests(config))
    return _PROTOCOL.format(rows="\n".join(rows), seconds=config.sign_in.token_ttl)


def _requests(config: Config) -> Iterator[tuple[str, str, str]]:
    assert config.sign_in is not None
    grants = "device code (RFC 8628), authorization code with PKCE on loopback (RFC 8252), refresh"
    exchange = ", token exchange for workloads (RFC 8693)" if config.sign_in.exchange else ""
    yield "GET /.well-known/oauth-authorization-server", "none", "where the following are (RFC 8414)"
    yield "POST /oauth/device_authorization", "none", "a device code, and a user code for the browser (RFC 8628)"
    yield "POST /oauth/token", "none", f"tokens: {grants}{exchange}"
    yield "POST /oauth/revoke", "the token", "ends the session (RFC 7009)"
    for topic in topics.in_use(config):
        if topic.name in _TOPICS:
            method, purpose = _TOPICS[topic.name]
            for path in topic.paths:
                yield f"{method} {path}", "bearer", purpose
    for row in dialects.rows():
        yield f"POST {row.path}", "bearer", "an answer of a model"
    yield f"GET {dialects.LIST_PATH}", "bearer", "the models that the caller may use"
