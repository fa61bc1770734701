"""`extproc claude`: starts Claude Code on the gateway, with a token that renews itself."""

import json
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TOKEN_SECONDS = 3600
RENEW_MS = TOKEN_SECONDS * 1000 // 2

# Each would send the client past the gateway, or take the place of the token.
REMOVED = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CODE_USE_FOUNDRY",
)


class ClaudeError(Exception):
    """Worded for the person at the terminal."""


def command(
    argv: Sequence[str], base_url: str, keys_folder: Path, environ: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment of Claude Code; `argv` are the user's arguments."""
    program = shutil.which("claude", path=environ.get("PATH"))
    if program is None:
        raise ClaudeError(
            "claude is not installed (or not on PATH). Install it: npm install -g @anthropic-ai/claude-code"
        )
    rest, settings = split_settings(argv)
    env = {name: value for name, value in environ.items() if name not in REMOVED}
    env["ANTHROPIC_BASE_URL"] = base_url
    env["CLAUDE_CODE_API_KEY_HELPER_TTL_MS"] = str(RENEW_MS)
    settings["apiKeyHelper"] = helper(keys_folder)
    # Settings of user and project set variables, too, even over the environment; the command line's come last.
    settings["env"] = {**settings.get("env", {}), **dict.fromkeys(REMOVED, ""), "ANTHROPIC_BASE_URL": base_url}
    return [program, "--settings", json.dumps(settings), *rest], env


def helper(keys_folder: Path) -> str:
    """A line for `sh`. -P: the folder Claude Code works in must not be searched for modules."""
    python = [sys.executable, "-P", "-m", "extproc"]
    return shlex.join([*python, "token", "--keys", str(keys_folder.resolve()), "--ttl", str(TOKEN_SECONDS)])


def split_settings(argv: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Takes the user's own `--settings` out of the arguments: of several, Claude Code heeds only the last."""
    rest, given = [], ""
    words = iter(argv)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == "--settings":
            given = next(words, "")
        elif word.startswith("--settings="):
            given = word.removeprefix("--settings=")
        else:
            rest.append(word)
    return rest, _load(given) if given else {}


def _load(given: str) -> dict[str, Any]:
    try:
        loaded = json.loads(given if given.lstrip().startswith("{") else Path(given).read_text())
    except (OSError, ValueError) as error:
        raise ClaudeError(f"--settings {given}: {error}") from error
    if not isinstance(loaded, dict) or not isinstance(loaded.get("env", {}), dict):
        raise ClaudeError(f"--settings {given}: expected an object of settings")
    return loaded


def listens(base_url: str) -> bool:
    where = urlsplit(base_url)
    port = where.port or (443 if where.scheme == "https" else 80)
    try:
        socket.create_connection((where.hostname or "", port), timeout=5).close()
    except OSError:
        return False
    return True


def run(argv: Sequence[str], base_url: str, keys_folder: Path, environ: Mapping[str, str] | None = None) -> int:
    """Becomes Claude Code, so it returns only when that is impossible."""
    try:
        line, env = command(argv, base_url, keys_folder, os.environ if environ is None else environ)
        if not (keys_folder / "private.pem").is_file():
            # New ones would not be those that the gateway trusts.
            raise ClaudeError(f"there are no lab keys in {keys_folder}; name the gateway's folder with --keys")
        if not listens(base_url):
            raise ClaudeError(f"no gateway listens at {base_url}. Start one in another shell: make up")
        os.execvpe(line[0], line, env)  # noqa: S606  # no shell on purpose
    except (ClaudeError, OSError) as error:
        print(f"extproc claude: {error}", file=sys.stderr)
    return 1
