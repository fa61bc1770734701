"""What `extproc claude` finds out before it starts Claude Code: whether that would talk to the gateway at all."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from extproc.client.connection import ClientError

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
