"""What is not configured is not even loaded."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from extproc.events import Record
from extproc.policy.facts import Facts
from extproc.transport import metrics
from extproc.transport.observe import Observer
from tests.settings import ENVIRON, GATEWAY, source

LOADED = """
import sys
from pathlib import Path
from extproc.gateway import gateway
from extproc.transport import worker
from extproc.transport.observe import Observer
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


class Ended:
    """A span that keeps what it is told."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.told: list[tuple[Record, float]] = []

    def end(self, seen: Record, now: float) -> None:
        self.told.append((seen, now))


def test_a_full_disk_costs_a_count_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    observer = Observer(source(tmp_path, f"{GATEWAY}\nmetrics: {{port: 9464}}\n").config)
    monkeypatch.setattr(metrics.Metrics, "end", full)
    span = Ended()
    observer.begin()
    with caplog.at_level(logging.ERROR):
        observer.end(Facts(started=0, span=span), {"ended": True}, 2.0)
    assert caplog.messages == ["a call was not counted: No space left on device"]
    assert span.told == [({"ended": True}, 2.0)]
