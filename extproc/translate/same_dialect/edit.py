"""A client's body with some of its top-level members changed; the bytes of all others stay as they are."""

from typing import Any

import msgspec

from extproc.translate.pair import Json, Target
from extproc.translate.want import refused
from extproc.translate.warnings import Warnings
from extproc.wire import Dialect, dialects, untrusted
from extproc.wire.duplicates import at_top
from extproc.wire.members import steers

Members = dict[str, msgspec.Raw]

_decoder = untrusted.decoder(Members)
_encode = msgspec.json.Encoder().encode
_BLANKS = b" \t\r\n"


class Edit:
    """Raises msgspec.DecodeError when the body is no object, Refused when one of its names stands there twice."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._members = _decoder.decode(raw)
        self._changed = not self._same(_encode(self._members))
        if self._changed and (name := at_top(raw)) is not None:
            raise refused(name[:64], "this name is given twice in one object")

    def get(self, name: str) -> msgspec.Raw:
        return self._members.get(name, msgspec.Raw(b"null"))

    def set(self, name: str, value: Any) -> None:
        """Bytes of a member that has the value already stay."""
        written = value if isinstance(value, msgspec.Raw) else msgspec.Raw(_encode(value))
        if self.get(name) != written or name not in self._members:
            self._members[name] = written
            self._changed = True

    def drop(self, name: str) -> None:
        self._changed = self._members.pop(name, None) is not None or self._changed

    def body(self) -> bytes:
        """What came, where nothing was changed. A name with escapes is written without, as policy has read it."""
        return _encode(self._members) if self._changed else self._raw

    def _same(self, written: bytes) -> bool:
        """Whether only blanks differ; else a name came twice or with escapes."""
        raw = self._raw
        return len(raw) == len(written) or raw.translate(None, _BLANKS) == written.translate(None, _BLANKS)


_MAX_NAME = 64
_REFUSED = "Extra inputs are not permitted"


def check_members(edit: Edit, body: Json, dialect: Dialect, to: Target, warnings: Warnings) -> None:
    """Drops or refuses them, as the profile says; those that the configuration sets stay. Raises Refused."""
    known, mode = dialects.row(dialect).members, to.profile.unknown_members
    ours = to.settings.keys() | to.profile.extra.keys()
    unknown = [name for name in body if name not in known and name not in ours]
    for name in unknown:
        # Some servers take `Model` for `model`, and then it is theirs that counts.
        if mode == "refuse" or steers(name, body[name]) or name.casefold() in known:
            raise refused(name[:_MAX_NAME], _REFUSED)
    if not unknown or mode == "pass":
        return
    warnings.unknown({name: body[name] for name in unknown}, frozenset(), "")
    for name in unknown:
        edit.drop(name)


def limited(edit: Edit, body: Json, name: str, limit: int | None, warnings: Warnings) -> int | None:
    """The number of tokens an answer may have, as sent upstream."""
    value = body.get(name)
    if limit is None or value is None:
        return value if type(value) is int and 0 <= value < 1 << 53 else None
    # A lenient server may take "5000", 5000.0 or true for a number.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refused(name, "Input should be a valid integer")
    if value > limit:
        warnings.add("clamped", name)
        edit.set(name, limit)
        return limit
    return value if isinstance(value, int) and value >= 0 else None
