"""The files that a configuration is made of, as they were when it was read."""

import hashlib
import stat
from collections.abc import Mapping
from pathlib import Path

Looks = dict[Path, bytes]


class Files:
    """Each file is read once: whoever builds from it sees the same, and can tell later whether it has changed.
    Contents may be secret; nothing here shows them."""

    def __init__(self, contents: Mapping[Path, bytes] | None = None) -> None:
        """`contents`: read already, by another process; these files are not looked at again."""
        self.contents = dict(contents or {})
        self._looks: Looks = {path: _digest(content) for path, content in self.contents.items()}

    def note(self, path: Path) -> None:
        """The configuration names this file, whoever reads it."""
        if path not in self._looks:
            self._looks[path] = _look(path)

    def read(self, path: Path) -> bytes:
        """Raises OSError."""
        self.note(path)  # before it is read: what changes in between is seen as a change later
        if path not in self.contents:
            self.contents[path] = path.read_bytes()
        return self.contents[path]

    @property
    def looks(self) -> Looks:
        """How each was when it was first asked for."""
        return dict(self._looks)

    def look_again(self) -> Looks:
        """How each is now. Kubernetes swaps a symbolic link above a file, editors rename over it or write in place:
        by content all are alike, and a file that was merely touched has not changed."""
        return {path: _look(path) for path in self._looks}


def _look(path: Path) -> bytes:
    try:
        kind = path.stat().st_mode
        # What is no file (a pipe, say) can be read once only, and not by us.
        return _digest(path.read_bytes()) if stat.S_ISREG(kind) else b""
    except OSError:
        return b""


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
