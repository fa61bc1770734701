from collections.abc import Iterator

import pytest

from tests.e2e.stack import Model, Stack, demo_model, up


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with demo_model(tmp_path_factory.mktemp("model")) as running:
        yield running


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    with up(tmp_path_factory.mktemp("gateway"), environ={"MODEL_URL": model.url}) as running:
        yield running
