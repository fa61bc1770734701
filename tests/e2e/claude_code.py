"""The real Claude Code, in the versions that claude-code/package-lock.json pins."""

import json
import platform
from pathlib import Path

from tests.e2e.npm import newest, package

_PACKAGE = package("claude-code")
VERSIONS = _PACKAGE.versions
NEWEST = newest(VERSIONS)


def install() -> dict[str, Path]:
    """Version -> binary."""
    _PACKAGE.install()
    # What runs is in a package of its own for each platform; an npm that knows no `libc` installs musl's as well.
    musl = platform.system() == "Linux" and platform.libc_ver()[0] != "glibc"
    manifests = _PACKAGE.modules.glob("**/@anthropic-ai/claude-code-*/package.json")
    fitting = [path for path in manifests if path.parent.name.endswith("-musl") == musl]
    return {json.loads(path.read_text())["version"]: path.parent / "claude" for path in fitting}
