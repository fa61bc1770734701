"""What `extproc claude` finds out before it starts Claude Code: whether the gateway is there, how many tokens the model
takes, and whether Claude Code would talk to the gateway at all."""

import json
import socket
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from extproc.demo import idp
from extproc.wire.dialects import LIST_PATH

ANSWER_SECONDS = 5.0
STATUS_SECONDS = 30.0
MANAGED_FOLDERS = (Path("/etc/claude-code"), Path("/Library/Application Support/ClaudeCode"))


class ClaudeError(Exception):
    """Worded for the person at the terminal."""


def listens(base_url: str) -> bool:
    where = urlsplit(base_url)
    port = where.port or (443 if where.scheme == "https" else 80)
    try:
        socket.create_connection((where.hostname or "", port), timeout=5).close()
    except OSError:
        return False
    return True


def window_of(model: str, base_url: str, keys_folder: Path) -> int | None:
    """The `context_window` that the gateway has for a model, or None where it says none."""
    headers = {"authorization": f"Bearer {idp.mint(keys_folder)}", "anthropic-version": "2023-06-01"}
    # The scheme is the user's own: --url says where the gateway is.
    request = urllib.request.Request(f"{base_url}{LIST_PATH}/{quote(model, safe='')}", headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
            found = json.loads(answer.read())
    except (OSError, ValueError):
        return None
    window = found.get("max_input_tokens") if isinstance(found, dict) else None
    return window if isinstance(window, int) and window > 0 else None


def check_destination(line: Sequence[str], env: Mapping[str, str], base_url: str) -> bool:
    """False where the version of Claude Code at hand cannot say who it would talk to. Raises ClaudeError where that is
    somebody else: it is signed in to another gateway, pinned to one by the machine's settings, or led to a cloud. It is
    asked itself, with the settings it would run with."""
    for path, url in managed_urls():
        if url.rstrip("/") != base_url.rstrip("/"):
            raise ClaudeError(
                f"{path} sets ANTHROPIC_BASE_URL to {url} for everybody on this machine; nothing can replace it"
            )
    status = _auth_status([*line[:3], "auth", "status"], env)
    provider = status.get("apiProvider")
    if status.get("forcedLoginMethod") == "gateway":
        raise ClaudeError(
            "the managed settings of this machine admit nothing but a sign-in to the company's gateway "
            "(forceLoginMethod), so Claude Code refuses the token of this one"
        )
    if provider == "gateway":
        raise ClaudeError(
            "Claude Code is signed in to another gateway and would talk to that one. Sign out (claude auth logout), or "
            'start it with a configuration of its own: CLAUDE_CONFIG_DIR="$HOME/.claude-extproc" extproc claude'
        )
    if provider not in (None, "firstParty"):
        raise ClaudeError(f"Claude Code would talk to {provider}; its managed settings or a variable lead it there")
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
