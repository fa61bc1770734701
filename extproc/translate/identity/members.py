"""A client's body with some of its top-level members changed; the bytes of all others stay as they are."""

from typing import Any

import msgspec

from extproc.wire import untrusted

Members = dict[str, msgspec.Raw]

_decoder = untrusted.decoder(Members)
_encode = msgspec.json.Encoder().encode
_BLANKS = b" \t\r\n"


class Edit:
    """Raises msgspec.DecodeError when the body is no object."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._members = _decoder.decode(raw)
        self._changed = False

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
        """What came, where nothing was changed. A member named twice is sent once, with the value policy has seen."""
        written = _encode(self._members)
        return self._raw if not self._changed and self._same(written) else written

    def _same(self, written: bytes) -> bool:
        """Whether only blanks differ; else a name came twice or with escapes, and parsers disagree on such."""
        raw = self._raw
        return len(raw) == len(written) or raw.translate(None, _BLANKS) == written.translate(None, _BLANKS)
