"""`extproc codex`: starts Codex on the gateway, with a token that renews itself.

Everything is said on the command line, so that nobody's `config.toml` changes.
https://developers.openai.com/codex/config-reference
"""

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from extproc.client import launch
from extproc.client.launch import Target, quoted

PROVIDER: Final = "extproc"


def command(argv: Sequence[str], target: Target, environ: Mapping[str, str], window: int | None = None) -> list[str]:
    """The command line of Codex; `argv` are the user's arguments, which come last and therefore win. `window`: tokens
    that the model takes."""
    program = launch.find_program("codex", "@openai/codex", environ)
    return [program, *(word for setting in _settings(target, window) for word in ("-c", setting)), *argv]


def _settings(target: Target, window: int | None) -> Iterator[str]:
    here = f"model_providers.{PROVIDER}"
    words = ", ".join(quoted(word) for word in target.token_command[1:])
    yield f"model_provider={quoted(PROVIDER)}"
    yield f"{here}.name={quoted(f'the gateway at {target.url}')}"
    # Codex adds `/responses` to it.
    yield f"{here}.base_url={quoted(f'{target.url}/v1')}"
    # Codex refuses `chat`.
    yield f'{here}.wire_api="responses"'
    # Codex runs it at its start, when the interval below is over and once after a 401.
    yield f"{here}.auth.command={quoted(target.token_command[0])}"
    yield f"{here}.auth.args=[{words}]"
    yield f"{here}.auth.refresh_interval_ms={target.renew_seconds * 1000:.0f}"
    if window is not None:
        yield f"model_context_window={window}"  # for a model that Codex does not know it has a figure of its own


def model_of(argv: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """The model that was chosen on the command line or in `config.toml`, or None."""
    words = iter(argv)
    for word in words:
        if word in ("-m", "--model"):
            return next(words, None)
        if word.startswith("--model="):
            return word.removeprefix("--model=")
        if word == "--":
            break
    home = Path(environ.get("CODEX_HOME") or Path(environ.get("HOME", "~")).expanduser() / ".codex")
    try:
        model = tomllib.loads((home / "config.toml").read_text("utf-8")).get("model")
    except (OSError, ValueError):
        return None
    return model if isinstance(model, str) else None


def run(argv: Sequence[str], target: Target, environ: Mapping[str, str] | None = None) -> int:
    """Becomes Codex, so it returns only where the system has no such thing. Raises ClientError."""
    environ = os.environ if environ is None else environ
    command(argv, target, environ)  # its complaint comes first
    target.check()
    model = model_of(argv, environ)
    window = target.window(model) if model else None
    return launch.become(command(argv, target, environ, window), environ)
