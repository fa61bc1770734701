"""The files that a configuration is made of, as they were when it was read."""

import hashlib
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path

Looks = dict[Path, bytes]


class Files:
    """Each file is read once: whoever builds from it sees the same, and can tell later whether it has changed.
    Contents may be secret; nothing here shows them."""

    def __init__(
        self, contents: Mapping[Path, bytes] | None = None, deleted: Mapping[Path, bytes] | None = None
    ) -> None:
        """`contents`: read already, by another process; these files are not looked at again.
        `deleted`: what counts as the content of a file of keys that is no longer there."""
        self.contents = dict(contents or {})
        self.key_files: dict[Path, float] = {}
        """Files of keys, and for how many seconds their keys count after the file has been deleted."""
        self._deleted = deleted or {}
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

    def read_keys(self, path: Path, max_stale: float) -> bytes:
        """Like `read`, of a file whose deletion is no mistake in the configuration (see DeletedFiles)."""
        self.key_files[path] = max_stale
        try:
            return self.read(path)
        except (FileNotFoundError, NotADirectoryError):
            if path not in self._deleted:
                raise
            return self.contents.setdefault(path, self._deleted[path])

    @property
    def looks(self) -> Looks:
        """How each was when it was first asked for."""
        return dict(self._looks)

    def look_again(self) -> Looks:
        """How each is now. Kubernetes swaps a symbolic link above a file, editors rename over it or write in place:
        by content all are alike, and a file that was merely touched has not changed."""
        return {path: _look(path) for path in self._looks}


class DeletedFiles:
    """Since when files of keys have been gone. What was read of them last counts for `max_stale` seconds, then they
    count as empty: whoever deletes a file does not mean its keys to live forever, nor every caller to be refused at
    once when a volume is detached."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[Path, float] = {}

    def look(self, files: Files) -> None:
        gone = {path for path in files.key_files if is_deleted(path)}
        self._since = {path: self._since.get(path, self._clock()) for path in gone}

    def left(self, files: Files) -> dict[Path, float]:
        """Seconds for which the keys of each file that is gone still count; not above 0: no longer."""
        now = self._clock()
        return {path: since + files.key_files[path] - now for path, since in self._since.items()}

    def counts(self, files: Files) -> dict[Path, bytes]:
        """What counts as the content of each file of keys, were it gone."""
        over = {path for path, seconds in self.left(files).items() if seconds <= 0}
        return {path: b"" if path in over else files.contents[path] for path in files.key_files}


def is_deleted(path: Path) -> bool:
    """A file that cannot be looked at (no permission, say) is not known to be."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _look(path: Path) -> bytes:
    try:
        kind = path.stat().st_mode
        # What is no file (a pipe, say) can be read once only, and not by us.
        return _digest(path.read_bytes()) if stat.S_ISREG(kind) else b""
    except OSError:
        return b""


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
