import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose import images
from tests.compose.engine import Engine, NoEngine
from tests.compose.engine import engine as running_engine
from tests.compose.project import Project, project
from tests.e2e.stack import PROVIDER_KEY


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """With the product's images. Where none can run the tests are skipped, and fail if it is REQUIRED."""
    try:
        with running_engine() as running:
            assert running.compose
            images.build(running)
            yield running
    except NoEngine as error:
        if os.environ.get("ENGINE") == "required":
            pytest.fail(str(error))
        pytest.skip(f"NO DOCKER ENGINE: {error}")


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The provider's; readable for the processor's user, as such a file has to be."""
    path = tmp_path_factory.mktemp("secrets") / "openai"
    path.write_text(PROVIDER_KEY)
    path.chmod(0o444)
    return path


@pytest.fixture(scope="session")
def gateway(engine: Engine, key: Path) -> Iterator[Project]:
    with project(engine, "extproc-test", key) as running:
        yield running
