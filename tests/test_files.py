import os
from collections.abc import Callable
from pathlib import Path

import pytest

from extproc.files import Files

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
