from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.claude_code import install, pinned
from tests.e2e.claude_runs import GATEWAY, Claude
from tests.e2e.stack import Model, Stack, demo_model, up


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with demo_model(tmp_path_factory.mktemp("model")) as running:
        yield running


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    with up(tmp_path_factory.mktemp("gateway"), environ={"MODEL_URL": model.url}) as running:
        yield running


@pytest.fixture(scope="session")
def claudes_stack(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("gateway-of-claude")
    with up(folder, environ={"MODEL_URL": model.url}, config=GATEWAY) as running:
        yield running


@pytest.fixture(params=sorted(pinned()))
def claude(request: pytest.FixtureRequest, claudes_stack: Stack, model: Model, tmp_path: Path) -> Claude:
    """Every pinned version of the real Claude Code."""
    return Claude(request.param, install()[request.param], claudes_stack, model, tmp_path)
