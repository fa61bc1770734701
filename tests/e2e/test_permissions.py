"""Nobody but the gateway's own user reaches its workers' sockets and files."""

import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.bare import configured, processor
from tests.e2e.stack import GATEWAY, Model, free_port, prompt, up


def modes(folder: Path) -> Iterator[tuple[Path, int]]:
    for path in (folder, *folder.rglob("*")):
        yield path, stat.S_IMODE(path.lstat().st_mode)


def sockets(pid: int) -> list[Path]:
    """Of the workers of a supervisor, from their command lines."""
    lines = [child.cmdline() for child in psutil.Process(pid).children(recursive=True)]
    words = [word for line in lines if "extproc.transport.worker" in line for word in line]
    return [Path(word.removeprefix("unix:")) for word in words if word.startswith("unix:")]


def test_up(tmp_path: Path, model: Model) -> None:
    config = GATEWAY + f"metrics: {{port: {free_port()}}}\n"
    with up(tmp_path, environ={"MODEL_URL": model.url}, config=config, arguments=["--workers", "2"]) as stack:
        assert stack.call(prompt("demo: say hi")).status_code == 200
        found = sockets(stack.process.pid)
        assert len(found) == 2
        folder = found[0].parent
        of = dict(modes(folder))
        assert {of[path] for path in found} == {0o600} and of[folder / "admin.sock"] == 0o600
        assert {of[folder], of[folder / "metrics"]} == {0o700}
        written = [path for path in of if path.suffix == ".db"]
        assert written and {of[path] for path in written} == {0o600}


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "with Envoy's files"])
def test_serve(model: Model, beside: bool) -> None:
    with configured(model.url) as setup:
        more = ("--envoy-folder", str(setup.folder)) if beside else ()
        with processor(setup, f"unix:{setup.folder}/worker.sock", *more) as (process, _):
            (found,) = sockets(process.pid)
            assert stat.S_ISSOCK(found.stat().st_mode) and stat.S_IMODE(found.stat().st_mode) == 0o600
