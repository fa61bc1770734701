"""Dialects that other installed packages add, by entry points of the group `extproc.dialects`.

Each names a function without arguments that calls `extproc.translate.dialects.registry.register`. Every process of the
gateway loads them before it reads a configuration. https://packaging.python.org/en/latest/specifications/entry-points/
"""

from importlib.metadata import entry_points

GROUP = "extproc.dialects"


class Unusable(Exception):
    """A dialect that is installed cannot be used; `str()` says which and why."""


def load() -> None:
    """Registers them all. Raises Unusable."""
    for entry in entry_points(group=GROUP):
        try:
            entry.load()()
        except Exception as error:
            raise Unusable(f"the dialect {entry.name!r} of {entry.value} cannot be used: {error!r}") from error
