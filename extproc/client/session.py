"""A sign-in over time: which one is meant, a token that is good for a while yet, and the end."""

import os
import time
from collections.abc import Callable, Mapping
from typing import Final

from extproc.client import oauth, store
from extproc.client.connection import ClientError, Unreachable, gateway_url
from extproc.client.store import Place, SignIn

REFRESH_BELOW: Final = 300.0
"""Seconds. A token with less left is renewed, as Claude Code's own sign-in does it."""
LEAST: Final = 5.0
"""Seconds. A token with less left would end on its way."""
CLOCK_SLACK: Final = 60.0
VARIABLE: Final = "EXTPROC_GATEWAY"

Clock = Callable[[], float]


def choose(named: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """The gateway that a command is about: the named one, that of EXTPROC_GATEWAY, or the only one signed in to."""
    if given := named or environ.get(VARIABLE):
        return gateway_url(given)
    match store.gateways():
        case [only]:
            return only
        case []:
            raise ClientError("you are not signed in to any gateway. Sign in: extproc login --gateway URL")
        case several:
            raise ClientError(f"you are signed in to several gateways; name one with --gateway: {', '.join(several)}")


def begin(gateway: str, server: oauth.Server, tokens: oauth.Tokens, place: Place, now: float) -> SignIn:
    """Keeps new tokens in the place of older ones."""
    end = now + tokens.lifetime
    sign_in = SignIn(gateway, server, tokens.access_token, tokens.refresh_token, now, end, place)
    with store.locked(gateway):
        store.save(sign_in)
    return sign_in


def current(gateway: str) -> SignIn:
    with store.locked(gateway):
        return _load(gateway)


def fresh_token(gateway: str, clock: Clock = time.time) -> str:
    """Returns an access token for a gateway, renewed if it has less than five minutes left.

    Only one process renews; others wait for it and read what it has kept. A token that is still valid is used when the
    gateway cannot renew it, so that a short outage disturbs nobody.
    """
    with store.locked(gateway):
        sign_in = _load(gateway)
        if _seconds_left(sign_in, clock()) >= REFRESH_BELOW:
            return sign_in.access_token
        try:
            return _renew(sign_in, clock).access_token
        except ClientError:
            if _seconds_left(sign_in, clock()) >= LEAST:
                return sign_in.access_token
            raise


def end(gateway: str) -> None:
    """Forgets the sign-in and revokes its tokens. Raises ClientError where the gateway does not confirm that."""
    with store.locked(gateway):
        sign_in = _load(gateway)
        try:
            oauth.revoke(sign_in.server, sign_in.access_token, sign_in.refresh_token)
        except ClientError as error:
            raise ClientError(
                f"{error}. The tokens were removed from this machine, but are good until they expire"
            ) from error
        finally:
            store.delete(gateway)


def _load(gateway: str) -> SignIn:
    sign_in = store.load(gateway)
    if sign_in is None:
        raise ClientError(f"you are not signed in to {gateway}. Sign in: {store.login(gateway)}")
    return sign_in


def _seconds_left(sign_in: SignIn, now: float) -> float:
    """0 also where the clock has been set back since: nobody can tell then how old the token is."""
    return 0.0 if now < sign_in.obtained_at - CLOCK_SLACK else sign_in.expires_at - now


def _renew(sign_in: SignIn, clock: Clock) -> SignIn:
    if sign_in.refresh_token is None:
        raise ClientError(
            f"the sign-in at {sign_in.gateway} has expired, and the gateway gave nothing to renew it with. "
            f"Sign in again: {_again(sign_in)}"
        )
    try:
        tokens = oauth.refresh(sign_in.server, sign_in.refresh_token)
    except oauth.Refused as error:
        raise ClientError(f"{error}. Sign in again: {_again(sign_in)}") from error
    except Unreachable as error:
        raise ClientError(f"the token has expired and cannot be renewed: {error}") from error
    renewed = sign_in.renewed(tokens, clock())
    store.save(renewed)
    return renewed


def _again(sign_in: SignIn) -> str:
    command, server = store.login(sign_in.gateway), sign_in.server
    at_gateway = server.client_id == oauth.CLIENT_ID and server.name == sign_in.gateway
    return command if at_gateway else f"{command} --issuer {server.name} --client-id {server.client_id}"
