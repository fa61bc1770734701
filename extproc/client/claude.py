"""`extproc claude`: starts Claude Code on the gateway, with a token that renews itself; checks before whether it would
talk to the gateway at all."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from extproc.client import launch
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
    # Claude Code runs it at its start, when the time above is over and after a 401, and sends what it prints:
    # https://code.claude.com/docs/en/settings
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
    # `[1m]` asks the client for a larger window and is no part of the name that it sends.
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


STATUS_SECONDS = 30.0
MANAGED_FOLDERS = (Path("/etc/claude-code"), Path("/Library/Application Support/ClaudeCode"))


def check_destination(line: Sequence[str], env: Mapping[str, str], base_url: str) -> bool:
    """False where the version of Claude Code at hand cannot say who it would talk to. Raises ClientError where that is
    somebody else: it is signed in to another gateway, pinned to one by the machine's settings, or led to a cloud. It is
    asked itself, with the settings it would run with."""
    for path, url in managed_urls():
        if url.rstrip("/") != base_url.rstrip("/"):
            raise ClientError(
                f"{path} sets ANTHROPIC_BASE_URL to {url} for everybody on this machine; nothing can replace it"
            )
    status = _auth_status([*line[:3], "auth", "status"], env)
    provider = status.get("apiProvider")
    if status.get("forcedLoginMethod") == "gateway":
        raise ClientError(
            "the managed settings of this machine admit nothing but Claude Code's own sign-in to the company's gateway "
            "(forceLoginMethod). Start it with `claude`, and sign in with /login"
        )
    if provider == "gateway":
        raise ClientError(
            "Claude Code is signed in to another gateway and would talk to that one. Sign out (claude auth logout), or "
            'start it with a configuration of its own: CLAUDE_CONFIG_DIR="$HOME/.claude-extproc" extproc claude'
        )
    if provider not in (None, "firstParty"):
        raise ClientError(f"Claude Code would talk to {provider}; its managed settings or a variable lead it there")
    return provider is not None


def _auth_status(argv: Sequence[str], env: Mapping[str, str]) -> dict[str, Any]:
    """Empty where the version at hand does not say."""
    try:
        done = subprocess.run(  # noqa: S603  # the user's own claude
            argv, env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, timeout=STATUS_SECONDS, check=False
        )
        found = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return {}
    return found if isinstance(found, dict) else {}


def managed_urls() -> Iterator[tuple[Path, str]]:
    """Each ANTHROPIC_BASE_URL that the machine's settings set, which outrank those of the command line."""
    for folder in MANAGED_FOLDERS:
        for path in [folder / "managed-settings.json", *sorted(folder.glob("managed-settings.d/*.json"))]:
            try:
                settings = json.loads(path.read_text("utf-8"))
                url = settings["env"]["ANTHROPIC_BASE_URL"]
            except (OSError, ValueError, KeyError, TypeError):
                continue
            yield path, str(url)
