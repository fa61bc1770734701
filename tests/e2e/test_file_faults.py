"""Files that go, cannot be read, or cannot be written."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.bare import Setup, configured
from tests.e2e.reloading import Reloads
from tests.e2e.stack import GATEWAY, ONE_WORKER, SECONDS, Model, prompt, up
from tests.e2e.test_processor_faults import kill_worker, until_it_works

OTHER = GATEWAY.replace(
    "models:\n",
    '  other: {dialects: [chat], base_url: "${MODEL_URL}", api_key: {env: MODEL_KEY}, timeouts: {connect: 1}}\n'
    "models:\n  - {name: other, provider: other, model: gpt-4o-mini}\n",
)


def remove(path: Path) -> None:
    path.unlink()


def replace_by_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def fill_with_garbage(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")


def fill_with_aliases_of_aliases(path: Path) -> None:
    """A kilobyte that stands for 9 ** 12 values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    path.write_text("\n".join(lines))


SPOILED = pytest.mark.parametrize(
    "spoil", [remove, replace_by_a_directory, fill_with_garbage, fill_with_aliases_of_aliases]
)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Reloads]:
    folder = tmp_path_factory.mktemp("spoiled")
    with up(folder, environ={"MODEL_URL": model.url}, arguments=ONE_WORKER) as stack:
        yield Reloads(stack)


@pytest.fixture
def reloads(started: Reloads) -> Iterator[Reloads]:
    """Its `gateway.yaml` is whole again after each test."""
    path = started.stack.folder / "gateway.yaml"
    yield started
    if path.is_dir():
        path.rmdir()
    path.write_text(GATEWAY)
    started.now()


@SPOILED
def test_gateway_yaml_spoiled_while_it_runs(reloads: Reloads, spoil: Callable[[Path], None]) -> None:
    """What runs runs on, a worker that is started again too; and it is said what is wrong."""

    def complains(line: str) -> bool | None:
        return "gateway.yaml: " in line or None

    stack = reloads.stack
    earlier = len([line for line in stack.err.seen if complains(line)])
    spoil(stack.folder / "gateway.yaml")
    reloads.by_itself(good=False)
    assert stack.err.nth(earlier + 1, complains)
    assert stack.call(prompt("demo: say hi")).status_code == 200
    kill_worker(stack)
    assert until_it_works(stack)[-1] == 200
    assert "Traceback" not in stack.printed


def up_fails(setup: Setup, *before: str) -> str:
    """What it says. `before`: a command that runs it."""
    argv = [*before, sys.executable, "-m", "extproc", "up"]
    done = subprocess.run(
        argv, cwd=setup.folder, env=setup.environ, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode in {1, 2} and "Traceback" not in done.stderr + done.stdout
    return done.stderr


@SPOILED
def test_gateway_yaml_spoiled_before_it_starts(model: Model, spoil: Callable[[Path], None]) -> None:
    with configured(model.url) as setup:
        spoil(setup.path)
        assert "gateway.yaml" in up_fails(setup)


def test_check_of_aliases_of_aliases(model: Model) -> None:
    """It ends in time."""
    with configured(model.url) as setup:
        fill_with_aliases_of_aliases(setup.path)
        argv = [sys.executable, "-m", "extproc", "check"]
        done = subprocess.run(
            argv, cwd=setup.folder, env=setup.environ, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    assert (done.returncode, done.stdout) == (2, "")
    assert "gateway.yaml: its aliases (`*name`) repeat more than 100000 values" in done.stderr


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


def test_disk_full_while_it_runs(tmp_path: Path, model: Model) -> None:
    """What is in force stays, and what could not be written is taken when there is room."""
    with up(tmp_path, environ={"MODEL_URL": model.url}, arguments=ONE_WORKER) as stack:
        supervisor, reloads = psutil.Process(stack.process.pid), Reloads(stack)
        room = supervisor.rlimit(psutil.RLIMIT_FSIZE)
        supervisor.rlimit(psutil.RLIMIT_FSIZE, (512, room[1]))
        (tmp_path / "gateway.yaml").write_text(OTHER)
        assert reloads.now(good=False) == 1
        assert stack.call(prompt("demo: say hi")).status_code == 200
        assert stack.call(prompt("demo: say hi", model="other")).status_code == 404
        supervisor.rlimit(psutil.RLIMIT_FSIZE, room)
        assert reloads.now() == 2
        assert stack.call(prompt("demo: say hi", model="other")).status_code == 200
