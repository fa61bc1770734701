"""The commands of developers: sign-in, tokens, and the clients that start on a gateway with them.

All of them but the lab's `token` run without the gateway's dependencies.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extproc.cli.arguments import USAGE, AddArgument, AddCommand, argument, complain

if TYPE_CHECKING:
    from extproc.client.launch import Target

KEYS, URL = Path("keys"), "http://127.0.0.1:8080"

CLIENT_OPTIONS: Final = ("--gateway", "--keys", "--url")
CLIENT_FLAGS: Final = {"claude": ("--skip-web-fetch-preflight",), "codex": ()}


_NAMES: Final = frozenset({"login", "logout", "whoami", "token", "claude", "codex"})


def is_own(words: list[str]) -> bool:
    """Whether the command is a developer's, which needs nothing of the gateway."""
    return words[:1] != [] and words[0] in _NAMES


def own_words(words: list[str]) -> int:
    """How many words are ours: behind the name of a client and our own options for it, all is the client's."""
    if not words or words[0] not in CLIENT_FLAGS:
        return len(words)
    flags, count = CLIENT_FLAGS[words[0]], 1
    while count < len(words) and words[count].partition("=")[0] in (*CLIENT_OPTIONS, *flags, "-h", "--help"):
        count += 2 if words[count] in CLIENT_OPTIONS else 1
    return min(count, len(words))


def add(command: AddCommand, claim: AddArgument) -> None:
    gateway = argument("--gateway", metavar="URL", help="default: $EXTPROC_GATEWAY, or the only one signed in to")
    _add_sign_in(command, gateway)
    keys = argument("--keys", type=Path, help=f"the lab's keys; default: {KEYS}")
    _add_token(command, gateway, keys, claim)
    url = argument("--url", help=f"where a gateway with the lab's keys is; default: {URL}")
    text = "Start Claude Code on a gateway, with a token that renews itself."
    skip = "for networks without claude.ai: WebFetch does not ask it whether a domain is safe"
    preflight = argument(CLIENT_FLAGS["claude"][0], action="store_true", help=skip)
    command("claude", text, 'extproc claude -p "hello"', _claude, gateway, keys, url, preflight)
    text = "Start Codex on a gateway, with a token that renews itself."
    command("codex", text, 'extproc codex exec "hello"', _codex, gateway, keys, url)


def _add_sign_in(command: AddCommand, gateway: AddArgument) -> None:
    browser = argument("--browser", action="store_true", help="sign in with this machine's browser, without a code")
    keep = argument("--keep-in", choices=("keyring", "file"), help="default: the system's keyring, where there is one")
    issuer = argument("--issuer", metavar="URL", help="sign in at an OpenID provider that the gateway trusts instead")
    client_id = argument("--client-id", metavar="ID", help="as which this command is registered with --issuer")
    text = "Sign in to a gateway."
    command("login", text, "extproc login --gateway URL", _login, gateway, browser, keep, issuer, client_id)
    command("logout", "Sign out, and revoke the tokens.", "extproc logout", _logout, gateway)
    command("whoami", "Show who is signed in, and for how long.", "extproc whoami", _whoami, gateway)


def _add_token(command: AddCommand, gateway: AddArgument, keys: AddArgument, claim: AddArgument) -> None:
    stored = argument("--stored", action="store_true", help="of a sign-in (extproc login), renewed where need be")
    file = argument("--token-file", type=Path, metavar="FILE", help="for a workload's JWT in a file; - reads it here")
    team = argument("--team", default="data-platform", help="lab: the claim `team`; default: data-platform")
    ttl = argument("--ttl", type=int, default=3600, help="lab: seconds; default: 3600")
    text = "Print a token: of a sign-in, for a workload's token, or else of the lab's identity provider."
    command(
        "token", text, "extproc token --stored", _token, stored, file, gateway, keys, team, claim, ttl
    )  # fmt: skip


def _login(options: argparse.Namespace) -> int:
    from extproc.client import commands

    login = commands.Login(options.gateway, options.browser, options.keep_in, options.issuer, options.client_id)
    return commands.run(lambda: commands.login(login))


def _logout(options: argparse.Namespace) -> int:
    from extproc.client import commands

    return commands.run(lambda: commands.logout(options.gateway))


def _whoami(options: argparse.Namespace) -> int:
    from extproc.client import commands

    return commands.run(lambda: commands.whoami(options.gateway))


def _token(options: argparse.Namespace) -> int:
    if options.stored or options.token_file:
        from extproc.client import commands

        return commands.run(lambda: commands.token(options.gateway, options.token_file))
    if options.gateway:
        return complain("extproc: --gateway goes with --stored or --token-file", USAGE)
    from extproc.demo import idp

    try:
        claims = dict(idp.parse_claim(text) for text in options.claim)
    except ValueError as error:
        return complain(error, USAGE)
    keys = options.keys or KEYS
    idp.ensure_keys(keys)
    print(idp.mint(keys, team=options.team, claims=claims, ttl=options.ttl))
    return 0


def _claude(options: argparse.Namespace) -> int:
    from extproc.client import claude, commands

    preflight = options.skip_web_fetch_preflight
    return commands.run(lambda: claude.run(options.rest, _target(options), skip_preflight=preflight))


def _codex(options: argparse.Namespace) -> int:
    from extproc.client import codex, commands

    return commands.run(lambda: codex.run(options.rest, _target(options)))


def _target(options: argparse.Namespace) -> "Target":
    """The gateway to start a client on: one that somebody has signed in to, or, with --url or --keys, or where a lab's
    keys are in this folder, one that trusts these."""
    from extproc.client import launch, session

    if options.gateway or not (options.url or options.keys or (KEYS / launch.PRIVATE_KEY).is_file()):
        return launch.stored(session.choose(options.gateway))
    return launch.lab(options.url or URL, options.keys or KEYS)
