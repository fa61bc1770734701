"""What a translation could not carry over, as `action:path` items (mapping 0.1)."""

import re
from collections.abc import Iterable
from typing import Literal

from extproc.translate.want import Json, refused

Strictness = Literal["lenient", "strict", "silent"]

HEADER = "x-translation-warnings"
MAX_HEADER = 1024
MAX_ITEMS = 200
"""A request made of oddities fills no log."""
_MORE = ",..."
# A stranger's key becomes part of logs and labels.
_ODD = re.compile(r"[^A-Za-z0-9_.$-]")
_MAX_KEY = 64
# A comma would split an item; anything else outside this range is not a header value.
_UNSAFE = re.compile(r"[^!-+\--~]")


class Warnings:
    """Collects items in order, each once. Under `strict` the first loss refuses the request; `silent` keeps them from
    the client, not from the log."""

    __slots__ = ("_items", "_strictness")

    def __init__(self, strictness: Strictness = "lenient") -> None:
        self._strictness = strictness
        self._items: dict[str, None] = {}

    def add(self, action: str, path: str, problem: str = "not supported by the upstream model") -> None:
        """A member of the client's body was lost or approximated. Raises Refused under `strict`."""
        if self._strictness == "strict":
            raise refused(path, problem)
        self.word(f"{action}:{path}")

    def unknown(self, found: Json, known: frozenset[str], path: str) -> None:
        """Members nobody here has heard of are reported, never passed on. Null says nothing: SDKs write out what is
        absent."""
        if not found.keys() <= known:
            for key, value in found.items():
                if key not in known and value is not None:
                    shown = _ODD.sub("_", key[:_MAX_KEY])
                    self.add("dropped", f"{path}.{shown}" if path else shown, "Extra inputs are not permitted")

    def word(self, word: str) -> None:
        """Something about the answer; it can no longer be refused."""
        if len(self._items) < MAX_ITEMS:
            self._items[word] = None

    @property
    def items(self) -> tuple[str, ...]:
        return tuple(self._items)


def header_value(items: Iterable[str]) -> str:
    """The items as a header value: ASCII, at most 1 KiB before the mark that some are missing."""
    out: list[str] = []
    size = 0
    for item in items:
        safe = _UNSAFE.sub("_", item)
        size += len(safe) + (1 if out else 0)
        if size > MAX_HEADER:
            return ",".join(out) + _MORE if out else safe[:MAX_HEADER] + _MORE
        out.append(safe)
    return ",".join(out)
