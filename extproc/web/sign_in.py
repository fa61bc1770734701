"""The paths of the sign-in."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from extproc.web.context import Context


def routes(context: Context) -> list[Route]:
    settings = context.gateway.source.config.sign_in
    assert settings is not None
    url = settings.public_url

    async def discovery(request: Request) -> Response:
        return JSONResponse({"issuer": url, "token_endpoint": f"{url}/oauth/token"})

    return [Route("/.well-known/oauth-authorization-server", discovery)]
