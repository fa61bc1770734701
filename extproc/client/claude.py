"""`extproc claude`: starts Claude Code on the gateway, with a token that renews itself."""

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from extproc.client import launch
from extproc.client.claude_checks import check_destination
from extproc.client.connection import ClientError
from extproc.client.launch import Target

# Each would send the client past the gateway, or take the place of the token.
REMOVED = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_UNIX_SOCKET",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_ANTHROPIC_AWS",
    "CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_USE_GATEWAY",
    "CLAUDE_CODE_USE_MANTLE",
    "CLAUDE_CODE_USE_VERTEX",
)
# Auto mode asks the server to check each action, and a translated model cannot; 0 makes the client check by ordinary
# calls instead. The settings that a gateway manages say whether it checks actions itself, and the environment outranks
# both.
AUTO_MODE = {"CLAUDE_CODE_AUTO_MODE_SERVER": "0"}
# The first holds for models that the client does not know, the second for all. The client takes no less than that.
WINDOWS = ("CLAUDE_CODE_MAX_CONTEXT_TOKENS", "CLAUDE_CODE_AUTO_COMPACT_WINDOW")
DEFAULT_MODEL = "claude-opus-5-5"
"""What the client asks for where nobody has chosen a model."""
ALIASES = ("fable", "haiku", "opus", "sonnet")


def command(
    argv: Sequence[str],
    target: Target,
    environ: Mapping[str, str],
    *,
    defaults: Mapping[str, str] = AUTO_MODE,
    skip_preflight: bool = False,
) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment of Claude Code; `argv` are the user's arguments. `defaults`:
    variables that `environ` outranks."""
    program = launch.find_program("claude", "@anthropic-ai/claude-code", environ)
    rest, settings = split_settings(argv)
    env = {**defaults, **{name: value for name, value in environ.items() if name not in REMOVED}}
    env["ANTHROPIC_BASE_URL"] = target.url
    env["CLAUDE_CODE_API_KEY_HELPER_TTL_MS"] = f"{target.renew_seconds * 1000:.0f}"
    settings["apiKeyHelper"] = shlex.join(target.token_command)
    if skip_preflight:
        settings["skipWebFetchPreflight"] = True
    # Settings of user and project set variables, too, even over the environment; the command line's come last.
    settings["env"] = {**settings.get("env", {}), **dict.fromkeys(REMOVED, ""), "ANTHROPIC_BASE_URL": target.url}
    return [program, "--settings", json.dumps(settings), *rest], env


def variables(target: Target, model: str) -> dict[str, str]:
    """What the gateway says of itself and of a model, as variables of Claude Code."""
    window, managed = target.window(model), target.managed_variables()
    auto_mode = AUTO_MODE if managed is None else {name: str(managed[name]) for name in AUTO_MODE if name in managed}
    return {**auto_mode, **(dict.fromkeys(WINDOWS, str(window)) if window else {})}


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
        raise ClientError(f"--settings {given}: {error}") from error
    if not isinstance(loaded, dict) or not isinstance(loaded.get("env", {}), dict):
        raise ClientError(f"--settings {given}: expected an object of settings")
    return loaded


def model_of(argv: Sequence[str], environ: Mapping[str, str]) -> str:
    """The name that Claude Code will ask for first."""
    rest, settings = split_settings(argv)
    words = iter(rest)
    given = ""
    for word in words:
        if word == "--model":
            given = next(words, "")
        elif word.startswith("--model="):
            given = word.removeprefix("--model=")
        elif word == "--":
            break
    name = (given or environ.get("ANTHROPIC_MODEL") or str(settings.get("model", ""))).removesuffix("[1m]")
    if name in ALIASES:
        return environ.get(f"ANTHROPIC_DEFAULT_{name.upper()}_MODEL") or DEFAULT_MODEL.replace("opus", name)
    return name if name and name not in ("default", "opusplan") else DEFAULT_MODEL


def run(
    argv: Sequence[str], target: Target, environ: Mapping[str, str] | None = None, *, skip_preflight: bool = False
) -> int:
    """Becomes Claude Code, so it returns only where the system has no such thing. Raises ClientError."""
    environ = os.environ if environ is None else environ
    command(argv, target, environ)  # its complaints come first
    target.check()
    defaults = variables(target, model_of(argv, environ))
    line, env = command(argv, target, environ, defaults=defaults, skip_preflight=skip_preflight)
    if not check_destination(line, env, target.url):
        print("extproc claude: cannot tell whether Claude Code will talk to the gateway", file=sys.stderr)
    return launch.become(line, env)
