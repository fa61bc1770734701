"""The grants of OAuth 2.0 that a sign-in needs, as a public client.

Device flow (RFC 8628), authorization code with PKCE (RFC 7636), refresh and revocation (RFC 6749, RFC 7009), and token
exchange for machines (RFC 8693). Endpoints come from the server's metadata (RFC 8414).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from extproc.client import connection
from extproc.client.connection import ClientError, Reply, Unreachable
from extproc.printable import printable

DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
EXCHANGE_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_TYPE: Final = "urn:ietf:params:oauth:token-type:jwt"
CLIENT_ID: Final = "extproc"
"""How this client names itself to a gateway, which asks for no registration."""

DEFAULT_INTERVAL: Final = 5.0  # RFC 8628, section 3.2
SLOW_DOWN_SECONDS: Final = 5.0  # RFC 8628, section 3.5
MAX_INTERVAL: Final = 60.0
MAX_SECONDS: Final = 1e10
"""More is no time; `1e999` is infinite."""
DEFAULT_LIFETIME: Final = 600.0
"""Seconds for a token whose answer does not say how long it is good for."""


class Refused(ClientError):
    """The server does not accept the refresh token any more: somebody has to sign in again."""


@dataclass(frozen=True)
class Server:
    """The endpoints of an authorization server. None: it has no such endpoint."""

    name: str
    token: str
    device: str | None = None
    authorization: str | None = None
    revocation: str | None = None
    client_id: str = CLIENT_ID
    issuer: str | None = None
    """Set where the server says that it names itself in its redirects (RFC 9207)."""
    bearer: str = "access_token"
    """The member of a token response that the gateway is sent."""


@dataclass(frozen=True)
class Tokens:
    access_token: str
    refresh_token: str | None
    lifetime: float
    """Seconds from the moment the answer came."""
    clock_offset: float | None = None


@dataclass(frozen=True)
class DeviceCode:
    device_code: str
    user_code: str
    uri: str
    complete_uri: str
    """With the code in it."""
    lifetime: float
    interval: float
    notice: str = ""


def gateway_server(gateway: str) -> Server:
    """Reads a gateway's metadata. An endpoint that it names on another origin is taken to be at its usual path below
    `gateway`, as Claude Code does it: a refresh token must not leave for another host."""
    # Below the gateway's own path, as Claude Code asks; RFC 8414, section 3.1, puts that path behind it.
    url = f"{gateway}/.well-known/oauth-authorization-server"
    reply = connection.get(url)
    if reply.status != 200 or not isinstance(reply.fields.get("token_endpoint"), str):
        raise ClientError(
            f"{gateway} offers no sign-in ({url} answered {reply.describe()}). Is the address right, and is there a "
            "`sign_in` section in the gateway's configuration?"
        )

    def endpoint(member: str, path: str) -> str | None:
        named = reply.fields.get(member)
        if not isinstance(named, str):
            return None
        return named if connection.origin(named) == connection.origin(gateway) else f"{gateway}{path}"

    return Server(
        gateway,
        endpoint("token_endpoint", "/oauth/token") or "",
        endpoint("device_authorization_endpoint", "/oauth/device_authorization"),
        endpoint("authorization_endpoint", "/oauth/authorize"),
        endpoint("revocation_endpoint", "/oauth/revoke"),
        issuer=_named_issuer(reply),
    )


def provider_server(issuer: str, client_id: str) -> Server:
    """Reads an OpenID provider's metadata. `client_id`: as which this command is registered there."""
    url = f"{issuer}/.well-known/openid-configuration"
    reply = connection.get(url)
    found = {name: reply.fields.get(name) for name in ("token_endpoint", "authorization_endpoint")}
    if reply.status != 200 or not all(isinstance(value, str) for value in found.values()):
        raise ClientError(f"{issuer} is no OpenID provider ({url} answered {reply.describe()})")
    # Else whoever wrote this document could name another provider, which the sign-in's answer is then compared with:
    # https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfigurationValidation
    # Paths may differ: Entra's document for all tenants and that of Azure AD B2C name no issuer that could be asked.
    named = str(reply.fields.get("issuer"))
    if connection.origin(named) != connection.origin(issuer):
        raise ClientError(f"{url} is of another issuer, {named[:200]!r}")
    for value in found.values():
        connection.gateway_url(str(value).partition("?")[0])  # refuses plain http
    return Server(
        issuer,
        str(found["token_endpoint"]),
        authorization=str(found["authorization_endpoint"]),
        client_id=client_id,
        issuer=_named_issuer(reply),
        bearer="id_token",  # its access token may be for the provider alone, and need not be a JWT
    )


def request_device_code(server: Server) -> DeviceCode:
    if server.device is None:
        raise ClientError(f"{server.name} offers no sign-in by code; try: extproc login --browser")
    reply = connection.post(server.device, {"client_id": server.client_id, "surface": "extproc"})
    fields = reply.fields
    texts = [fields.get(name) for name in ("device_code", "user_code", "verification_uri")]
    if reply.status != 200 or not all(isinstance(text, str) and text for text in texts):
        raise ClientError(f"{server.name} gave no code to sign in with: {reply.describe()}")
    device_code, user_code, uri = map(str, texts)
    return DeviceCode(
        device_code,
        printable(user_code),
        _page(uri),
        _page(str(fields.get("verification_uri_complete") or uri)),
        _seconds(fields.get("expires_in"), DEFAULT_LIFETIME),
        _seconds(fields.get("interval"), DEFAULT_INTERVAL),
        printable(str(fields.get("login_notice", ""))),
    )


def poll_for_tokens(
    server: Server,
    code: DeviceCode,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Tokens:
    """Waits until somebody has finished the sign-in in a browser. Raises ClientError when it was denied or is over."""
    form = {"grant_type": DEVICE_GRANT, "device_code": code.device_code, "client_id": server.client_id}
    interval, end, last = code.interval, clock() + code.lifetime, ""
    while clock() + interval < end:
        sleep(interval)
        try:
            reply = connection.post(server.token, form)
        except Unreachable as error:  # RFC 8628, section 3.5: back off, and go on
            last, interval = f" (the last try failed: {error})", min(2 * interval + 1, MAX_INTERVAL)
            continue
        match reply.error:
            case "authorization_pending":
                last = ""
            # The interval grows for good, not for the next poll only.
            case "slow_down":
                interval += SLOW_DOWN_SECONDS
            case "access_denied":
                raise ClientError(f"the sign-in at {server.name} was denied in the browser, or you are not admitted")
            case "expired_token":
                break
            case _ if reply.status >= 500:
                last, interval = f" (the last answer was {reply.describe()})", min(2 * interval + 1, MAX_INTERVAL)
            case _:
                return _tokens(reply, server)
    raise ClientError(f"the code has expired before anybody signed in with it{last}. Start again: extproc login")


def exchange_code(server: Server, code: str, redirect_uri: str, verifier: str) -> Tokens:
    """Tokens for an authorization code."""
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": verifier}
    return _tokens(connection.post(server.token, {**form, "client_id": server.client_id}), server)


def exchange_token(server: Server, subject_token: str) -> Tokens:
    """Tokens for those of a workload: a CI job, a service account."""
    form = {"grant_type": EXCHANGE_GRANT, "subject_token": subject_token, "subject_token_type": JWT_TYPE}
    return _tokens(connection.post(server.token, {**form, "client_id": server.client_id}), server)


def refresh(server: Server, refresh_token: str) -> Tokens:
    """Raises Refused where the sign-in is over, and Unreachable where the server cannot say at the moment."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": server.client_id}
    reply = connection.post(server.token, form)
    # An answer without OAuth's error is not the token endpoint's, but that of a proxy or of the network's portal.
    if reply.status >= 500 or reply.status == 429 or (reply.status != 200 and not reply.error):
        raise Unreachable(f"{server.name} cannot renew the sign-in at the moment ({reply.describe()})")
    if reply.status != 200:
        raise Refused(f"{server.name} has ended this sign-in ({reply.describe()})")
    return _tokens(reply, server)


def revoke(server: Server, access_token: str, refresh_token: str | None) -> None:
    """Ends both tokens at the server. Raises ClientError where it does not confirm that."""
    if server.revocation is None:
        raise ClientError(f"{server.name} has no way to revoke tokens")
    forms = [{"token": access_token}]
    if refresh_token:
        forms.append({"token": refresh_token, "token_type_hint": "refresh_token"})
    for form in forms:
        reply = connection.post(server.revocation, {**form, "client_id": server.client_id})
        if reply.status != 200:
            raise ClientError(f"{server.name} did not revoke the tokens ({reply.describe()})")


def _tokens(reply: Reply, server: Server) -> Tokens:
    fields = reply.fields
    access = fields.get(server.bearer)
    if reply.status != 200 or not isinstance(access, str) or not access.isascii() or not access.isprintable():
        raise ClientError(f"{server.name} gave no token: {reply.describe()}")
    refresh_token = fields.get("refresh_token")
    lifetime = _seconds(fields.get("expires_in"), DEFAULT_LIFETIME)
    if server.bearer == "id_token":  # `expires_in` is the access token's
        known = claims(access)
        lifetime = _seconds(_seconds(known.get("exp"), -1.0) - _seconds(known.get("iat"), 0.0), lifetime)
    return Tokens(access, refresh_token if isinstance(refresh_token, str) else None, lifetime, reply.clock_offset)


def claims(token: str) -> dict[str, Any]:
    """What a token says of its owner. The gateway checks it; here it is only shown. Empty where it is no JWT."""
    import jwt

    try:
        found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return {}
    return found


def _named_issuer(reply: Reply) -> str | None:
    if reply.fields.get("authorization_response_iss_parameter_supported") is not True:
        return None
    return str(reply.fields.get("issuer"))


def _page(uri: str) -> str:
    """An address to open in a browser: never a program, never a file."""
    if urlsplit(uri).scheme not in ("https", "http"):
        raise ClientError(f"the gateway names {printable(uri)} as the page to sign in at, which is no web page")
    return printable(uri)


def _seconds(value: Any, default: float) -> float:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_SECONDS
    return float(value) if fits else default
