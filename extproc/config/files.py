"""The files of a configuration, as they were when it was read, and their digests to notice changes."""

import hashlib
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path

Digests = dict[Path, bytes]


class Files:
    """Reads each file once, so that all parts of a configuration see the same content, and remembers its digest.
    Contents may be secret and are never shown."""

    def __init__(
        self, contents: Mapping[Path, bytes] | None = None, deleted: Mapping[Path, bytes] | None = None
    ) -> None:
        """`contents`: files that another process has read; they are not read again.
        `deleted`: the content to use for a file of keys that has been deleted."""
        self.contents = dict(contents or {})
        self.key_files: dict[Path, float] = {}
        """Files of keys, with the seconds for which their keys stay in use after the file has been deleted."""
        self._deleted = deleted or {}
        self._digests: Digests = {path: _digest(content) for path, content in self.contents.items()}

    def note(self, path: Path) -> None:
        """Watches a file that the configuration names and that somebody else, such as Envoy, reads."""
        if path not in self._digests:
            self._digests[path] = _digest_of(path)

    def read(self, path: Path) -> bytes:
        """Raises OSError."""
        self.note(path)  # before it is read, so that a change in between is noticed later
        if path not in self.contents:
            self.contents[path] = path.read_bytes()
        return self.contents[path]

    def read_keys(self, path: Path, max_stale: float) -> bytes:
        """Like `read`, for a file of keys, which may have been deleted since (see DeletedFiles). Raises OSError."""
        self.key_files[path] = max_stale
        try:
            return self.read(path)
        except (FileNotFoundError, NotADirectoryError):
            if path not in self._deleted:
                raise
            return self.contents.setdefault(path, self._deleted[path])

    @property
    def digests(self) -> Digests:
        """The digest of each file when it was first read or noted."""
        return dict(self._digests)

    def current_digests(self) -> Digests:
        """Reads all files again and returns their digests. Content counts, not time or inode: Kubernetes swaps a
        symbolic link above a file, editors rename over it or write in place."""
        return {path: _digest_of(path) for path in self._digests}


class DeletedFiles:
    """Remembers since when files of keys have been deleted. Their last content stays in use for `max_stale` seconds and
    then counts as empty: a deleted file ends its keys, but a volume that is detached for a moment refuses no caller."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[Path, float] = {}

    def look(self, files: Files) -> None:
        gone = {path for path in files.key_files if is_deleted(path)}
        self._since = {path: self._since.get(path, self._clock()) for path in gone}

    def left(self, files: Files) -> dict[Path, float]:
        """Returns the seconds for which the keys of each deleted file stay in use; 0 or less: they have ended."""
        now = self._clock()
        return {path: since + files.key_files[path] - now for path, since in self._since.items()}

    def counts(self, files: Files) -> dict[Path, bytes]:
        """Returns the content to use for each file of keys if it is deleted."""
        over = {path for path, seconds in self.left(files).items() if seconds <= 0}
        return {path: b"" if path in over else files.contents[path] for path in files.key_files}


def is_deleted(path: Path) -> bool:
    """Returns whether a file is known to be deleted; one without permission to look is not."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _digest_of(path: Path) -> bytes:
    try:
        kind = path.stat().st_mode
        # A pipe, for instance, can be read only once, so it is not read here.
        return _digest(path.read_bytes()) if stat.S_ISREG(kind) else b""
    except OSError:
        return b""


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
