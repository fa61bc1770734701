"""A client's body with some of its top-level members changed; the bytes of all others stay as they are."""

from typing import Any

import msgspec

from extproc.translate.want import refused
from extproc.wire.duplicates import at_top

Members = dict[str, msgspec.Raw]

_decoder = msgspec.json.Decoder(Members)
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
