"""What is not configured is not even loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.settings import ENVIRON, GATEWAY

LOADED = """
import sys
from pathlib import Path
from extproc import gateway
from extproc.server import worker
from extproc.server.observe import Observer
Observer(gateway.load(Path(sys.argv[1])).source.config)
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"opentelemetry", "prometheus_client", "requests"}))
"""


@pytest.mark.parametrize(
    ("keys", "loaded"),
    [
        ("", ""),
        ("metrics: {port: 9464}", "prometheus_client"),
        ('tracing: {endpoint: "http://127.0.0.1:4318"}', "opentelemetry requests"),
    ],
)
def test_loaded(keys: str, loaded: str, tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(f"{GATEWAY}\n{keys}\n")
    argv = [sys.executable, "-c", LOADED, str(path)]
    ran = subprocess.run(argv, env=ENVIRON, capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.strip() == loaded
