"""What a body may not be where rules decide by it. Pure: bytes and values in, a rejection out."""

from typing import Any

from extproc.errors import Rejection, invalid
from extproc.wire import Dialect, dialects
from extproc.wire.duplicates import at_any_depth

_MAX_NAME = 64


def refusal(raw: bytes, body: dict[str, Any], dialect: Dialect, *, every_depth: bool) -> Rejection | None:
    """`every_depth`: rules read more of the body than its model, so that no name within it may stand twice."""
    known = dialects.row(dialect).members
    for name in body:
        # Servers written in Go take `Tools` for `tools`: https://pkg.go.dev/encoding/json#Unmarshal
        if name not in known and (meant := name.casefold()) in known:
            return invalid(shown(name), f"write `{meant}`")
    if not every_depth:
        return None
    try:
        twice = at_any_depth(raw, body)
    except RecursionError:
        return invalid("", "the body is nested too deeply")
    return None if twice is None else invalid(shown(twice), "this name is given twice in one object")


def shown(name: str) -> str:
    """A stranger's name, for a message."""
    return "".join(char if char.isprintable() else "_" for char in name[:_MAX_NAME])
