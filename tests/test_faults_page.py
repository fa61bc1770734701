"""docs/faults.md names tests that exist and reasons that there are; and leaves none out."""

import ast
import re
from pathlib import Path

from extproc.errors import Reason

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "faults.md").read_text("utf-8")
E2E = ROOT / "tests" / "e2e"
# All of whose tests are about faults.
MODULES = (
    "answer_faults", "bugs", "client_faults", "cloud_faults", "connections", "drain", "failover_faults",
    "failover_limits", "failover_processor", "file_faults", "heavy_bodies", "judge_faults", "memory", "outliers",
    "overload", "processor_faults", "provider_faults", "retries", "start", "timeouts", "tls", "uploads",
    "worker_faults",
)  # fmt: skip


def named_in(module: str) -> set[str]:
    tree = ast.parse((E2E / f"test_{module}.py").read_text("utf-8"))
    found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return {f"test_{module}::{name}" for name in found if name.startswith("test_")}


def rows() -> list[list[str]]:
    """Cells of all tables."""
    return [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]


def test_the_tests_it_names_are_the_tests_there_are() -> None:
    named = set(re.findall(r"`(test_\w+::test_\w+)`", PAGE))
    theirs = {name for module in MODULES for name in named_in(module)}
    assert theirs - named == set()
    assert named - theirs == {"test_bad_input::test_a_body_of_40_mb"} <= named_in("bad_input")


def test_the_reasons_are_those_of_the_log() -> None:
    cells = [cell.strip() for row in rows() if len(row) == 4 and row[0] != "fault" for cell in row[2].split(",")]
    reasons = {cell for cell in cells if cell}
    assert len(reasons) > 5 and reasons <= {str(reason) for reason in Reason}
