"""Files, functions and branches stay small enough to read at one go. `make floors` shows the figures."""

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINES_OF_FILE = 400
LINES_OF_FUNCTION = 50  # without the docstring
COMPLEXITY = 10
TREES = {"product": ["extproc"], "tests": ["tests", "bench"]}
GENERATED = ROOT / "extproc" / "pb"
FOREIGN = "node_modules"


def files(what: str) -> list[Path]:
    found = sorted(path for tree in TREES[what] for path in (ROOT / tree).rglob("*.py"))
    return [path for path in found if GENERATED not in path.parents and FOREIGN not in path.parts]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert function.end_lineno
    first = function.body[0]
    docstring = 0
    if ast.get_docstring(function) is not None and first.end_lineno:
        docstring = first.end_lineno - first.lineno + 1
    return function.end_lineno - function.lineno + 1 - docstring


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", length(node)


def report(what: str, sizes: dict[str, int]) -> None:
    longest = max(sizes, key=lambda name: sizes[name])
    print(f"{what}: {len(sizes)}, median {statistics.median(sizes.values()):.0f}, longest {sizes[longest]} ({longest})")


@pytest.mark.parametrize("what", TREES)
def test_files(what: str) -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files(what)}
    report(f"{what}, lines of a file", sizes)
    assert not {name: lines for name, lines in sizes.items() if lines > LINES_OF_FILE}


@pytest.mark.parametrize("what", TREES)
def test_functions(what: str) -> None:
    sizes = dict(pair for path in files(what) for pair in functions(path))
    report(f"{what}, lines of a function", sizes)
    assert not {name: lines for name, lines in sizes.items() if lines > LINES_OF_FUNCTION}


def test_complexity() -> None:
    limit = f"lint.mccabe.max-complexity={COMPLEXITY}"
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--output-format=concise"]
    only = ["--select=C901", "--ignore-noqa", "--config", limit, "--exclude", str(GENERATED), "--exclude", FOREIGN]
    done = subprocess.run(
        [*ruff, *only, *TREES["product"], *TREES["tests"]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_docstring_does_not_count() -> None:
    function = ast.parse('def f():\n    """One\n    two."""\n    return 1\n').body[0]
    assert isinstance(function, ast.FunctionDef)
    assert length(function) == 2
