from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import certificate
from tests.e2e import judging
from tests.e2e.claude_code import VERSIONS, install
from tests.e2e.claude_runs import GATEWAY, Claude
from tests.e2e.providers import ANTHROPIC_KEY, Providers, Special, demo_claude, example
from tests.e2e.providers import special as started
from tests.e2e.raw_provider import RawProvider
from tests.e2e.stack import ONE_WORKER, Model, Stack, demo_model, up
from tests.key_server import KeyServer, key_server


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with demo_model(tmp_path_factory.mktemp("model")) as running:
        yield running


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    with up(tmp_path_factory.mktemp("gateway"), environ={"MODEL_URL": model.url}) as running:
        yield running


@pytest.fixture(scope="module")
def provider() -> Iterator[RawProvider]:
    """For what no HTTP server would do."""
    with RawProvider().serving() as running:
        yield running


@pytest.fixture(scope="session")
def claudes_stack(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("gateway-of-claude")
    with up(folder, environ={"MODEL_URL": model.url}, config=GATEWAY, arguments=ONE_WORKER) as running:
        yield running


@pytest.fixture(scope="session")
def providers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Providers]:
    """Others than `model`, for tests that look at who was asked."""
    folders = [tmp_path_factory.mktemp(name) for name in ("anthropic", "openai", "local")]
    with (
        demo_claude(folders[0], key=ANTHROPIC_KEY) as anthropic,
        demo_model(folders[1]) as openai,
        demo_model(folders[2], key="") as local,
    ):
        yield Providers(anthropic, openai, local)


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory, providers: Providers) -> Iterator[Stack]:
    with example(tmp_path_factory.mktemp("three"), "three-providers", providers.environ) as running:
        yield running


@pytest.fixture(scope="session")
def passing(tmp_path_factory: pytest.TempPathFactory, providers: Providers) -> Iterator[Stack]:
    with example(tmp_path_factory.mktemp("passing"), "claude-code", providers.environ) as running:
        yield running


@pytest.fixture(scope="session")
def one_claude(tmp_path_factory: pytest.TempPathFactory, providers: Providers) -> Iterator[Stack]:
    """Whatever is asked for, claude-sonnet-5 answers."""
    with example(tmp_path_factory.mktemp("one-claude"), "anthropic", providers.environ) as running:
        yield running


@pytest.fixture(scope="session")
def special(tmp_path_factory: pytest.TempPathFactory, providers: Providers) -> Iterator[Special]:
    with started(tmp_path_factory.mktemp("special"), providers) as running:
        yield running


@pytest.fixture(scope="session")
def judge() -> Iterator[RawProvider]:
    """The model that is asked about calls of tools."""
    with RawProvider().serving() as running:
        yield running


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory, model: Model, judge: RawProvider) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("auto-mode")
    with up(
        folder, environ={"MODEL_URL": model.url, "JUDGE_URL": judge.url}, config=judging.CONFIG, arguments=ONE_WORKER
    ) as running:
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KeyServer]:
    """Of an issuer's keys, over TLS; `ca.pem` in the test's folder is what trusts it."""
    with key_server(certificate(tmp_path, "localhost")) as running:
        yield running


@pytest.fixture(params=VERSIONS)
def claude(request: pytest.FixtureRequest, claudes_stack: Stack, model: Model, tmp_path: Path) -> Claude:
    """Every pinned version of the real Claude Code."""
    return Claude(request.param, install()[request.param], claudes_stack, model, tmp_path)
