"""A provider that fails is left out by all workers for a while, and comes back. Another one answers meanwhile."""

import tempfile
import time
from collections.abc import Callable, Iterator

import pytest

from extproc.providers.availability import ProviderState
from extproc.transport.control import ControlRequest, ask
from tests.e2e.raw_provider import FINE, RawProvider, whole
from tests.e2e.stack import GATEWAY, SECONDS, Model, Stack, prompt, up

FAILS = whole(b'{"error": {"message": "no"}}', status="500 Internal Server Error")
LIMITED = whole(b'{"error": {"message": "slow down"}}', "retry-after: 2", status="429 Too Many Requests")
CONFIG = (
    GATEWAY.partition("models:")[0]
    + """
  first: {dialects: [chat], base_url: "${FIRST_URL}", outliers: {failures: 3, pause: 1}}
models:
  - {name: "claude-*", providers: [{provider: first, model: m}, {provider: openai, model: gpt-4o-mini}]}
workers: 2
"""
)


class Scene:
    def __init__(self, stack: Stack, first: RawProvider) -> None:
        self.stack = stack
        self.first = first

    def command(self, *words: str) -> ProviderState:
        """The state of the first provider after an operator's command."""
        request = ControlRequest(*words)  # type: ignore[arg-type]
        return ask(self.stack.folder / "gateway.yaml", request).providers["first"]

    def until_left_out(self) -> float:
        """Waits until no call reaches it. Returns the seconds that are left, as the supervisor decided."""
        self.until(lambda: self.command("list").until is not None)
        left = (self.command("list").until or 0) - time.time()
        self.until(self.is_spared)
        return left

    def call(self) -> bool:
        """Whether the first provider was asked. Some provider always answers."""
        before = len(self.first.bodies)
        answer = self.stack.call(prompt("demo: say hi"))
        assert answer.status_code == 200, answer.text
        return len(self.first.bodies) > before

    def is_spared(self) -> bool:
        """By both workers: none of several calls in a row reaches it."""
        return not any(self.call() for _ in range(6))

    def is_asked(self) -> bool:
        """By both workers."""
        return all(self.call() for _ in range(6))

    def until(self, fits: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while not fits():
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, model: Model, provider: RawProvider) -> Iterator[Stack]:
    environ = {"MODEL_URL": model.url, "FIRST_URL": provider.url, "TMPDIR": tempfile.gettempdir()}
    with up(tmp_path_factory.mktemp("cool-down"), environ=environ, config=CONFIG) as running:
        yield running


@pytest.fixture
def scene(stack: Stack, provider: RawProvider) -> Scene:
    made = Scene(stack, provider)
    provider.plays(FINE)
    assert made.command("resume", "first").state == "available"
    made.until(made.is_asked)
    return made


def test_failures_leave_a_provider_out_for_longer_each_time(scene: Scene) -> None:
    scene.first.plays(FAILS)
    for _ in range(3):
        assert scene.call()
    assert 0 < scene.until_left_out() <= 1
    # The pause ends by itself, and one failure is enough then.
    scene.until(scene.call)
    assert 1 < scene.until_left_out() <= 2


def test_a_provider_that_names_a_time_is_left_out_for_so_long(scene: Scene) -> None:
    scene.first.plays(LIMITED, FINE)
    assert scene.call()
    assert 1 < scene.until_left_out() <= 2
    scene.until(scene.is_asked)


def test_by_hand(scene: Scene) -> None:
    assert scene.command("drain", "first").state == "drained"
    scene.until(scene.is_spared)
    assert scene.command("resume", "first").state == "available"
    scene.until(scene.is_asked)
