"""Typed reads from a stranger's JSON, and what a translation could not carry over of it.

A wrong type refuses the request and names the dotted path; a loss is an `action:path` item (docs/mapping.md 0.1).
"""

import math
import re
from collections.abc import Callable, Iterable
from functools import cache, lru_cache, wraps
from typing import Any, Literal, NoReturn, ParamSpec, TypeVar

import msgspec

from extproc.errors import Rejection, invalid
from extproc.wire import untrusted

Json = dict[str, Any]
P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

_REQUIRED = "Field required"
MAX_PROBLEM = 500
"""Characters: a refusal may quote the body, but never sends much of it back."""


class Refused(Exception):
    """Carries a rejection out of nested functions; the entry points of a translator turn it into a value."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.message)
        self.rejection = rejection


def returns_rejections(make: Callable[P, T]) -> Callable[P, T | Rejection]:
    """Makes a function that reads or writes a stranger's body return why it cannot, instead of raising Refused."""

    @wraps(make)
    def attempt(*args: P.args, **kwargs: P.kwargs) -> T | Rejection:
        try:
            return make(*args, **kwargs)
        except Refused as stop:
            return stop.rejection
        # JSON may hold half of a surrogate pair as `\ud800` (RFC 8259, section 8.2), which no UTF-8 can say.
        except UnicodeEncodeError:
            return invalid("", "The body holds text that is not valid Unicode")
        except RecursionError:
            return invalid("", "The body is nested too deeply")

    return attempt


def refused(path: str, problem: str, *, code: str = "invalid_value") -> Refused:
    """An exception to raise: `<path>: <problem>`."""
    return Refused(invalid(path, problem[:MAX_PROBLEM], code=code))


def unsupported(path: str, problem: str) -> Refused:
    """Well-formed, but there is nothing like it on the other side."""
    return refused(path, problem, code="unsupported_value")


def missing(path: str) -> Refused:
    return refused(path, _REQUIRED, code="missing_required_parameter")


def _wrong(found: Any, path: str, key: str | int, problem: str) -> NoReturn:
    where = f"{path}.{key}" if path else str(key)
    if found is None:
        raise missing(where)
    raise refused(where, problem)


# What msgspec says of a value: the type that it should have, or the member that is missing, and where.
_MISTAKE = re.compile(
    r"(?:Expected `(?P<type>[^`]+)`, got `(?P<found>\w+)`|.* required field `(?P<member>[^`]+)`)( - at `\$(?P<at>.*)`)?"
)
_PLACE = re.compile(r"\[(\d+)\]")
_TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "array": "list",
    "object": "dictionary",
}


def typed(found: Any, into: type[S], path: str) -> S:
    """A stranger's object as a Struct, whose annotations say what is checked. Raises Refused for the first member of a
    wrong type."""
    try:
        return msgspec.convert(found, into)
    except msgspec.ValidationError as error:
        raise _mistake(str(error), path) from None


def _mistake(said: str, path: str) -> Refused:
    """In the words of Anthropic's API, which are those of Pydantic."""
    match = _MISTAKE.fullmatch(said)
    assert match is not None, "Structs of requests use plain types only"
    place = _PLACE.sub(r".\1", match["at"] or "").removeprefix(".")
    where = ".".join(part for part in (path, place, match["member"]) if part)
    # SDKs write null for a member that is absent; in a list null is a value, and of the wrong type.
    if match["member"] or (match["found"] == "null" and place and not place[-1].isdigit()):
        return missing(where)
    *_, wanted = (name for name in match["type"].split(" | ") if name != "null")
    return refused(where, f"Input should be a valid {_TYPES[wanted]}")


@cache
def members(of: type[msgspec.Struct]) -> frozenset[str]:
    """The members that a Struct has in JSON."""
    return frozenset(of.__struct_encode_fields__)


def text(holder: Json, key: str, path: str) -> str:
    found = holder.get(key)
    if isinstance(found, str):
        return found
    _wrong(found, path, key, "Input should be a valid string")


def optional_text(holder: Json, key: str, path: str) -> str | None:
    found = holder.get(key)
    if found is None or isinstance(found, str):
        return found
    _wrong(found, path, key, "Input should be a valid string")


def integer(holder: Json, key: str, path: str) -> int:
    found = holder.get(key)
    # For Python `True` is an integer; no vendor takes it for one.
    if isinstance(found, int) and not isinstance(found, bool):
        return found
    _wrong(found, path, key, "Input should be a valid integer")


def number(holder: Json, key: str, path: str) -> float:
    found = holder.get(key)
    if isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found):
        return found
    _wrong(found, path, key, "Input should be a valid number")


def flag(holder: Json, key: str, path: str) -> bool:
    """False when absent or null."""
    found = holder.get(key)
    if found is None:
        return False
    if isinstance(found, bool):
        return found
    _wrong(found, path, key, "Input should be a valid boolean")


def mapping(holder: Json, key: str, path: str) -> Json:
    found = holder.get(key)
    if isinstance(found, dict):
        return found
    _wrong(found, path, key, "Input should be a valid dictionary")


def optional_mapping(holder: Json, key: str, path: str) -> Json:
    """Empty when absent or null."""
    found = holder.get(key)
    return {} if found is None else found if isinstance(found, dict) else mapping(holder, key, path)


def sequence(holder: Json, key: str, path: str) -> list[Any]:
    found = holder.get(key)
    if isinstance(found, list):
        return found
    _wrong(found, path, key, "Input should be a valid list")


def optional_sequence(holder: Json, key: str, path: str) -> list[Any]:
    """Empty when absent or null."""
    found = holder.get(key)
    return [] if found is None else found if isinstance(found, list) else sequence(holder, key, path)


def optional_texts(holder: Json, key: str, path: str) -> list[str]:
    """Empty when absent or null."""
    found = optional_sequence(holder, key, path)
    for n, text in enumerate(found):
        if not isinstance(text, str):
            raise refused(f"{path}.{key}.{n}" if path else f"{key}.{n}", "Input should be a valid string")
    return found


def item(found: Any, path: str) -> Json:
    """A member of a list that must be an object."""
    if isinstance(found, dict):
        return found
    raise refused(path, "Input should be a valid dictionary")


def one_of(value: str, allowed: tuple[str, ...], path: str) -> str:
    if value in allowed:
        return value
    names = [f"'{name}'" for name in allowed]
    raise refused(
        path, f"Input should be {', '.join(names[:-1])} or {names[-1]}" if names[1:] else f"Input should be {names[0]}"
    )


# Losses

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

    __slots__ = ("_items", "strictness")

    def __init__(self, strictness: Strictness = "lenient") -> None:
        self.strictness = strictness
        self._items: dict[str, None] = {}

    def add(self, action: str, path: str, problem: str = "not supported by the upstream model") -> None:
        """A member of the client's body was lost or approximated. Raises Refused under `strict`."""
        if self.strictness == "strict":
            raise refused(path, problem)
        self.word(f"{action}:{path}")

    def reasoning_left_out(self, path: str) -> None:
        """Earlier reasoning was made by another provider, and this one can use none of it. `strict` does not refuse
        that: a session that has moved to another provider would end there."""
        self.word(f"dropped:{path}")

    def unknown(self, found: Json, known: frozenset[str], path: str) -> None:
        """Members nobody here has heard of are reported, never passed on. Null says nothing: SDKs write out what is
        absent."""
        if not found.keys() <= known:
            for key, value in found.items():
                if key not in known and value is not None:
                    shown = _ODD.sub("_", key[:_MAX_KEY])
                    self.add("dropped", f"{path}.{shown}" if path else shown, "Extra inputs are not permitted")

    def word(self, word: str) -> None:
        """Something that is no reason to refuse the request."""
        if len(self._items) < MAX_ITEMS:
            self._items[word] = None

    @property
    def items(self) -> tuple[str, ...]:
        return tuple(self._items)


REMEMBERED = 256
REMEMBERED_BYTES, REMEMBERED_VALUES = 16 * 1024, 256
"""Larger objects are read anew each time, which bounds the memory."""
_FEW_BYTES = 2 * 1024
"""Cannot hold many values."""


def remembered(read: Callable[[Json, str, Warnings], T]) -> Callable[[Json, str, Warnings], T]:
    """Makes a reader of an object at a path remember what it has returned, which must be immutable. For definitions of
    tools: a client sends the same ones with every call."""

    @lru_cache(maxsize=REMEMBERED)
    def known(encoded: bytes, path: str, strictness: Strictness) -> tuple[T, tuple[str, ...]]:
        warnings = Warnings(strictness)
        return read(untrusted.decode(encoded), path, warnings), warnings.items

    def recall(found: Json, path: str, warnings: Warnings) -> T:
        encoded = msgspec.json.encode(found)
        if len(encoded) > _FEW_BYTES and not _is_kept(encoded):
            return read(found, path, warnings)
        value, words = known(encoded, path, warnings.strictness)
        for word in words:
            warnings.word(word)
        return value

    return recall


def _is_kept(encoded: bytes) -> bool:
    """Counts no fewer values than there are: marks within strings count, too."""
    return len(encoded) <= REMEMBERED_BYTES and sum(map(encoded.count, (b",", b"{", b"["))) <= REMEMBERED_VALUES


def header_value(items: Iterable[str]) -> str:
    """The items as a header value: ASCII, at most 1 KiB before the mark that some are missing."""
    out: list[str] = []
    size = 0
    # Values of headers are visible ASCII (RFC 9110, section 5.5).
    for item in items:
        safe = _UNSAFE.sub("_", item)
        size += len(safe) + (1 if out else 0)
        if size > MAX_HEADER:
            return ",".join(out) + _MORE if out else safe[:MAX_HEADER] + _MORE
        out.append(safe)
    return ",".join(out)
