"""Files that go, cannot be read, or cannot be written."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.bare import Setup, configured
from tests.e2e.stack import GATEWAY, SECONDS, Model, prompt, up
from tests.e2e.test_processor_faults import kill_worker, until_it_works


def test_gateway_yaml_removed(tmp_path: Path, model: Model) -> None:
    """What runs runs on; a worker that dies meanwhile comes back when the file does, and says what it lacks."""
    with up(tmp_path, environ={"MODEL_URL": model.url}, arguments=["--workers", "1"]) as stack:
        file = tmp_path / "gateway.yaml"
        file.unlink()
        assert stack.call(prompt("demo: say hi")).status_code == 200
        kill_worker(stack)
        assert stack.err.first(lambda line: "ended with status -9" in line or None)
        assert stack.err.first(lambda line: line if "ended with status 2" in line else None)
        assert stack.call(prompt("demo: say hi")).status_code == 503
        file.write_text(GATEWAY)
        assert until_it_works(stack)[-1] == 200


def up_fails(setup: Setup, *before: str) -> str:
    """What it says. `before`: a command that runs it."""
    argv = [*before, sys.executable, "-m", "extproc", "up"]
    done = subprocess.run(
        argv, cwd=setup.folder, env=setup.environ, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode in {1, 2} and "Traceback" not in done.stderr + done.stdout
    return done.stderr


@pytest.mark.parametrize("how", ["absent", "a directory", "not UTF-8"])
def test_gateway_yaml_unreadable(model: Model, how: str) -> None:
    with configured(model.url) as setup:
        setup.path.unlink()
        if how == "a directory":
            setup.path.mkdir()
        elif how == "not UTF-8":
            setup.path.write_bytes(b"\xff\xfe\x00")
        assert "gateway.yaml" in up_fails(setup)


def full(blocks: int) -> list[str]:
    """The kernel lets no file grow beyond so many blocks of 512 bytes."""
    return ["sh", "-c", f'ulimit -f {blocks} && exec "$@"', "sh"]


@pytest.mark.parametrize(("blocks", "says"), [(0, "cannot make a folder"), (1, "cannot write Envoy's files to ")])
def test_disk_full(model: Model, blocks: int, says: str) -> None:
    with configured(model.url) as setup:
        assert up_fails(setup, *full(blocks)).startswith(says)


def test_disk_full_for_keys(model: Model) -> None:
    with configured(model.url) as setup:
        shutil.rmtree(setup.folder / "keys")
        assert up_fails(setup, *full(1)).startswith("cannot write the lab's keys to ")
