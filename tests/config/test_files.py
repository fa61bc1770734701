import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from extproc.config.files import DeletedFiles, Files

SECRET = "sk-secret"


def in_place(path: Path) -> None:
    path.write_text("other")


def renamed_over(path: Path) -> None:
    path.with_suffix(".new").write_text("other")
    path.with_suffix(".new").replace(path)


def same_size_and_time(path: Path) -> None:
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_text("SECRET-ks")
    os.utime(path, ns=times)


def gone(path: Path) -> None:
    path.unlink()


def touched(path: Path) -> None:
    os.utime(path, (1, 1))


def copied(path: Path) -> None:
    renamed_over(path)
    path.write_text(SECRET)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (in_place, True),
        (renamed_over, True),
        (same_size_and_time, True),
        (gone, True),
        (touched, False),
        (copied, False),
    ],
)
@pytest.mark.parametrize("ask", [Files.read, Files.note])
def test_a_change_of_content_is_seen(
    tmp_path: Path, ask: Callable[[Files, Path], object], change: Callable[[Path], None], seen: bool
) -> None:
    path, files = tmp_path / "key", Files()
    path.write_text(SECRET)
    ask(files, path)
    assert files.look_again() == files.looks
    change(path)
    assert (files.look_again() != files.looks) == seen


def test_a_link_above_the_file_is_swapped(tmp_path: Path) -> None:
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "key").write_text(version)
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "key").symlink_to("..data/key")
    files = Files()
    assert files.read(tmp_path / "key") == b"1"
    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").replace(tmp_path / "..data")
    assert files.look_again() != files.looks


def test_one_that_comes_later_is_seen(tmp_path: Path) -> None:
    files = Files()
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "key")
    assert files.look_again() == files.looks
    (tmp_path / "key").write_text(SECRET)
    assert files.look_again() != files.looks


def test_all_see_the_same(tmp_path: Path) -> None:
    path, files = tmp_path / "key", Files()
    path.write_text(SECRET)
    assert files.read(path) == SECRET.encode()
    path.unlink()
    assert files.read(path) == SECRET.encode()
    assert Files(files.contents).read(path) == SECRET.encode()
    assert files.contents == {path: SECRET.encode()}


def test_a_pipe_is_left_alone(tmp_path: Path) -> None:
    """Reading it would hang, or take from another what it is waiting for."""
    os.mkfifo(tmp_path / "pipe")
    files = Files()
    files.note(tmp_path / "pipe")
    assert files.look_again() == files.looks


def test_nothing_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(SECRET)
    files = Files()
    files.read(path)
    assert SECRET not in repr(files) + str(files)


class Watched:
    """A file of keys, one plain file, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.keys, self.plain = folder / "keys", folder / "plain"
        self.keys.write_text(SECRET)
        self.plain.write_text(SECRET)
        self.files = self.read({})
        self.deleted = DeletedFiles(lambda: self.now)

    def read(self, deleted: dict[Path, bytes]) -> Files:
        files = Files(deleted=deleted)
        files.read_keys(self.keys, 10)
        files.read(self.plain)
        return files

    def left(self, at: float) -> dict[Path, float]:
        self.now = at
        self.deleted.look(self.files)
        return self.deleted.left(self.files)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_keys_of_a_deleted_file_count_for_a_while(watched: Watched) -> None:
    assert watched.left(at=5) == {}
    watched.keys.unlink()
    assert watched.left(at=6) == {watched.keys: 10}
    assert watched.read(watched.deleted.counts(watched.files)).contents[watched.keys] == SECRET.encode()
    assert watched.left(at=15.9) == {watched.keys: pytest.approx(0.1)}
    assert watched.deleted.counts(watched.files) == {watched.keys: SECRET.encode()}
    assert watched.left(at=16) == {watched.keys: 0}
    assert watched.read(watched.deleted.counts(watched.files)).contents[watched.keys] == b""


def test_a_file_that_comes_back_is_read(watched: Watched) -> None:
    watched.keys.unlink()
    watched.left(at=0)
    watched.keys.write_text("new")
    assert watched.left(at=9) == {}
    assert watched.read(watched.deleted.counts(watched.files)).contents[watched.keys] == b"new"
    watched.keys.unlink()
    assert watched.left(at=11) == {watched.keys: 10}


def test_the_folder_may_be_gone_too(watched: Watched) -> None:
    shutil.rmtree(watched.keys.parent)
    assert watched.left(at=0) == {watched.keys: 10}
    watched.keys.parent.write_text("a file in its place")
    assert watched.left(at=1) == {watched.keys: 9}


def test_only_files_of_keys_may_go(watched: Watched) -> None:
    watched.plain.unlink()
    assert watched.left(at=0) == {}
    with pytest.raises(FileNotFoundError):
        watched.read(watched.deleted.counts(watched.files))


def test_what_was_never_read_is_not_made_up(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Files(deleted={tmp_path / "other": b""}).read_keys(tmp_path / "keys", 10)
