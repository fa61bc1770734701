"""What the modules of the product import, read from their syntax: every import counts, wherever it stands."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "extproc"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def sources() -> dict[str, Path]:
    return {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def unit(module: str) -> str:
    """The part of the house that a module belongs to: `extproc.policy.keys.keys` is in `policy`."""
    return f"{module}.".split(".")[1]


def imported(source: str, modules: set[str]) -> Iterator[str]:
    """Names of modules; `from a import b` names `a.b` where that is one of `modules`, and `a` otherwise."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                full = [f"{module}.{name.name}" for name in names]
                yield from (name if name in modules else module for name in full)
            case ast.ImportFrom():
                raise AssertionError("relative import")
            case _:
                pass


@functools.cache
def graph() -> dict[str, set[str]]:
    modules = set(sources())
    return {module: set(imported(path.read_text(), modules)) for module, path in sources().items()}
