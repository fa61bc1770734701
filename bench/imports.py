"""Measures how the modules of `extproc/` hang together: `python -m bench.imports`.

- chain: the longest path of imports, in modules, from a command to a module that imports none of ours
- one importer: modules that one other alone imports, packages' `__init__` included. Those that a table names are
  counted apart, since a table is how one of several is chosen: commands, and the halves of a dialect.
"""

from functools import cache

from tests.imports import graph, sources

# Modules that name others only to choose one of them.
TABLES = ("extproc.cli.main", "extproc.translate.dialects.")


def inside() -> dict[str, frozenset[str]]:
    """Each module with those of ours that it imports."""
    known = sources().keys()
    return {module: frozenset(targets & known - {module}) for module, targets in graph().items()}


def longest_chain(imports: dict[str, frozenset[str]], prefix: str = "") -> tuple[str, ...]:
    """`prefix`: of the module that it begins with."""

    @cache
    def chain(module: str) -> tuple[str, ...]:
        return (module, *max((chain(target) for target in imports[module]), key=len, default=()))

    return max((chain(module) for module in imports if module.startswith(prefix)), key=len)


def with_one_importer(imports: dict[str, frozenset[str]]) -> dict[str, str]:
    """Modules that one other alone imports, and that one."""
    importers = {module: [other for other in imports if module in imports[other]] for module in imports}
    return {module: found[0] for module, found in importers.items() if len(found) == 1}


def is_table(module: str) -> bool:
    """A package of a dialect, not a module in it."""
    return module == TABLES[0] or (module.startswith(TABLES[1]) and module.count(".") == 3)


def main() -> None:
    imports = inside()
    chain, single = longest_chain(imports), with_one_importer(imports)
    chosen = [module for module, importer in single.items() if is_table(importer)]
    print(f"modules: {len(imports)}")
    print(f"longest chain: {len(chain)}, from translate/: {len(longest_chain(imports, 'extproc.translate.'))}")
    print("  " + " > ".join(module.removeprefix("extproc.") for module in chain))
    share = 100 * (len(single) - len(chosen)) / len(imports)
    print(f"one importer: {len(single)}, of which {len(chosen)} in tables; without these {share:.0f} %")


if __name__ == "__main__":
    main()
