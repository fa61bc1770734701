"""What starting any client on a gateway has in common: where the gateway is, and what prints a token for it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from extproc.client import connection
from extproc.client.connection import ClientError
from extproc.printable import printable

PRIVATE_KEY: Final = "private.pem"
LAB_TOKEN_SECONDS: Final = 3600
STORED_TOKEN_SECONDS: Final = 240.0
"""How often clients ask for a stored token, which is good for five minutes at least."""
TOKEN_TIMEOUT: Final = 90.0


@dataclass(frozen=True)
class Target:
    """A gateway to start clients on."""

    url: str
    token_command: Sequence[str]
    """Prints a token, in whatever folder it runs."""
    renew_seconds: float
    """How often a client should run it."""

    @cached_property
    def token(self) -> str:
        """A token, printed by the command as the client will run it. Raises ClientError with what it complains of."""
        try:
            done = subprocess.run(  # noqa: S603  # a command of our own
                self.token_command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TOKEN_TIMEOUT,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise ClientError("there was no token within 90 seconds") from error
        if done.returncode != 0:
            raise ClientError(done.stderr.strip().removeprefix("extproc: ") or "there is no token")
        return done.stdout.strip()

    def check(self) -> None:
        """Raises ClientError where the gateway does not answer or there is no token for it."""
        try:
            connection.probe(f"{self.url}/")
        except connection.Unreachable as error:
            raise ClientError(f"no gateway answers at {self.url} ({error})") from error
        _ = self.token

    def window(self, model: str) -> int | None:
        """The `context_window` that the gateway has for a model, in tokens, or None where it says none."""
        headers = {"authorization": f"Bearer {self.token}", "anthropic-version": "2023-06-01"}
        try:
            reply = connection.get(f"{self.url}/v1/models/{quote(model, safe='')}", headers)
        except ClientError:
            return None
        window = reply.fields.get("max_input_tokens")
        return window if isinstance(window, int) and window > 0 else None

    def managed_variables(self) -> Mapping[str, Any] | None:
        """The variables in the settings that the gateway manages for this caller, or None where it manages none."""
        try:
            reply = connection.get(f"{self.url}/managed/settings", {"authorization": f"Bearer {self.token}"})
        except ClientError:
            return None
        settings = reply.fields.get("settings")
        if not isinstance(settings, dict):
            return None
        variables = settings.get("env")
        return variables if isinstance(variables, dict) else {}


def stored(gateway: str) -> Target:
    """A gateway that somebody has signed in to."""
    return Target(gateway, [*_extproc(), "token", "--stored", "--gateway", gateway], STORED_TOKEN_SECONDS)


def lab(url: str, keys: Path) -> Target:
    """A gateway that trusts the lab's keys in a folder. Raises ClientError where there are none: new ones would not be
    those that the gateway trusts."""
    if not (keys / PRIVATE_KEY).is_file():
        raise ClientError(f"there are no lab keys in {keys}; name the gateway's folder with --keys")
    words = ["token", "--keys", str(keys.resolve()), "--ttl", str(LAB_TOKEN_SECONDS)]
    return Target(url.rstrip("/"), [*_extproc(), *words], LAB_TOKEN_SECONDS / 2)


def find_program(name: str, package: str, environ: Mapping[str, str]) -> str:
    found = shutil.which(name, path=environ.get("PATH"))
    if found is None:
        raise ClientError(f"{name} is not installed (or not on PATH). Install it: npm install -g {package}")
    return found


def become(line: Sequence[str], environ: Mapping[str, str]) -> int:
    """Turns into the client; where the system has no such thing, runs it and returns its exit status."""
    if os.name == "nt":
        return subprocess.run(line, env=dict(environ), check=False).returncode  # noqa: S603  # the user's own client
    try:
        os.execve(line[0], list(line), environ)  # noqa: S606  # no shell on purpose
    except OSError as error:
        raise ClientError(f"{line[0]} does not start: {printable(str(error.strerror))}") from error


def _extproc() -> list[str]:
    """-P: the folder that a client works in must not be searched for modules."""
    return [sys.executable, "-P", "-m", "extproc"]


def quoted(text: str) -> str:
    """A JSON string, which is a basic string of TOML too."""
    return json.dumps(text, ensure_ascii=False)
