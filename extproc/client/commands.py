"""The commands of a developer: `extproc login`, `token --stored`, `logout` and `whoami`."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from extproc.client import browser, oauth, session, store
from extproc.client.connection import ClientError, gateway_url
from extproc.client.store import Place, SignIn
from extproc.printable import printable, show

CLOCK_WARNING_SECONDS: Final = 120.0
# 128 and the number of SIGINT, as shells report it.
INTERRUPTED: Final = 130
FIRST_CLAIMS: Final = ("sub", "email", "name", "groups")


@dataclass(frozen=True)
class Login:
    gateway: str | None
    browser: bool = False
    keep_in: Place | None = None
    issuer: str | None = None
    client_id: str | None = None


def run(command: Callable[[], int | None]) -> int:
    """The exit status of a command (None is success), with its complaint on stderr."""
    try:
        return command() or 0
    except ClientError as error:
        show(f"extproc: {error}", sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def login(options: Login) -> None:
    gateway = session.choose(options.gateway)
    place = options.keep_in or store.choose_place()  # before anybody signs in for nothing
    if options.issuer is not None:
        if options.client_id is None:
            raise ClientError("--issuer needs --client-id: the name under which this command is registered there")
        server = oauth.provider_server(gateway_url(options.issuer), options.client_id)
    else:
        server = oauth.gateway_server(gateway)
    by_redirect = options.browser or options.issuer is not None
    tokens = browser.sign_in(server, _report) if by_redirect else _by_device(server)
    sign_in = session.begin(gateway, server, tokens, place, time.time())
    who = _name(oauth.claims(sign_in.access_token))
    where = "the system's keyring" if place == "keyring" else f"a file that only you can read, in {store.folder()}"
    _report(f"Signed in to {gateway}{f' as {who}' if who else ''}. The tokens are in {where}.")
    if abs(offset := tokens.clock_offset or 0.0) > CLOCK_WARNING_SECONDS:
        direction = "ahead of" if offset > 0 else "behind"
        _report(
            f"warning: this machine's clock is {abs(offset) / 60:.0f} minutes {direction} the gateway's. Set it: "
            "certificates and other sign-ins fail with a wrong clock"
        )


def token(gateway: str | None, token_file: Path | None = None) -> None:
    """Prints an access token: the stored one, or what the gateway gives for a workload's token in a file."""
    if token_file is None:
        print(session.fresh_token(session.choose(gateway)))
        return
    try:
        text = sys.stdin.read() if str(token_file) == "-" else token_file.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ClientError(f"cannot read {token_file}: {printable(str(error))}") from error
    print(oauth.exchange_token(oauth.gateway_server(session.choose(gateway)), text.strip()).access_token)


def logout(gateway: str | None) -> None:
    chosen = session.choose(gateway)
    session.end(chosen)
    _report(f"Signed out of {chosen}. Its tokens are revoked.")


def whoami(gateway: str | None) -> None:
    """Prints one sign-in or, where none is named, all. Nothing is asked of a gateway."""
    named = [session.choose(gateway)] if gateway or len(store.gateways()) < 2 else store.gateways()
    show("\n\n".join(_describe(session.current(each), time.time()) for each in named))


def _by_device(server: oauth.Server) -> oauth.Tokens:
    code = oauth.request_device_code(server)
    if code.notice:
        _report(f"Notice from {server.name}: {code.notice}")
    _report(
        f"To sign in, open this page in a browser, on any device:\n\n  {code.complete_uri}\n\n"
        f"It must show the code {code.user_code} (or ask for it, at {code.uri}).\n"
        f"Waiting for at most {code.lifetime / 60:.0f} minutes; Ctrl-C gives up."
    )
    return oauth.poll_for_tokens(server, code)


def _describe(sign_in: SignIn, now: float) -> str:
    left = sign_in.expires_at - now
    until = f"{datetime.fromtimestamp(sign_in.expires_at, UTC):%Y-%m-%d %H:%M} UTC"
    lasts = f"for {left / 60:.0f} minutes, until {until}" if left > 0 else f"no more, since {until}"
    lines = {"gateway": sign_in.gateway, "token": f"good {lasts}"}
    lines["renews itself"] = "yes" if sign_in.refresh_token else "no"
    lines["kept in"] = "keyring" if sign_in.place == "keyring" else "file"
    claims = oauth.claims(sign_in.access_token)
    ordered = [name for name in FIRST_CLAIMS if name in claims] + sorted(set(claims) - set(FIRST_CLAIMS))
    lines |= {name: _text(claims[name]) for name in ordered}
    return "\n".join(f"{printable(name)}: {printable(value)}" for name, value in lines.items())


def _name(claims: dict[str, Any]) -> str:
    return printable(str(claims.get("email") or claims.get("sub") or ""))


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _report(text: str) -> None:
    show(text, sys.stderr)
