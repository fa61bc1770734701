"""Thinking blocks that hold another model's reasoning (signature.py): Claude would refuse their signatures."""

import msgspec

from extproc.translate.signature import PREFIX, is_ours
from extproc.wire import untrusted

_MARK = PREFIX.encode()
_Many = list[msgspec.Raw]
_Object = dict[str, msgspec.Raw]


class Block(msgspec.Struct):
    type: str
    signature: str | None = None
    data: str | None = None


_many = untrusted.decoder(_Many)
_object = untrusted.decoder(_Object)
_block = untrusted.decoder(Block)
_encode = msgspec.json.Encoder().encode
_THINKING = frozenset({"thinking", "redacted_thinking"})


def without_ours(messages: msgspec.Raw) -> tuple[msgspec.Raw | None, bool]:
    """The messages that are left, or None where none of ours was found; and whether the last answer of the model,
    one with tool calls, has lost its thinking. All other bytes stay; the malformed is for the provider to refuse."""
    if _MARK not in bytes(messages):
        return None, False
    try:
        found = _many.decode(messages)
        left = [_without(message) for message in found]
    except msgspec.DecodeError:
        return None, False
    if all(new is old for new, old in zip(left, found, strict=True)):
        return None, False
    return msgspec.Raw(_encode([message for message in left if message is not None])), _thoughtless(found, left)


def _without(message: msgspec.Raw) -> msgspec.Raw | None:
    """None: nothing is left of it."""
    if _MARK not in bytes(message):
        return message
    members = _object.decode(message)
    if bytes(members.get("content", b""))[:1] != b"[":
        return message
    blocks = _many.decode(members["content"])
    left = [block for block in blocks if not _is_ours(block)]
    if len(left) == len(blocks):
        return message
    members["content"] = msgspec.Raw(_encode(left))
    return msgspec.Raw(_encode(members)) if left else None


def _is_ours(raw: msgspec.Raw) -> bool:
    if _MARK not in bytes(raw):
        return False
    try:
        block = _block.decode(raw)
    except msgspec.ValidationError:
        return False
    return block.type in _THINKING and (is_ours(block.signature) or is_ours(block.data))


def _thoughtless(before: _Many, after: list[msgspec.Raw | None]) -> bool:
    for old, new in zip(reversed(before), reversed(after), strict=True):
        members = _object.decode(old)
        if bytes(members.get("role", b"")) != b'"assistant"':
            continue
        if new is None or new is old:
            return False
        kinds = [_kind(block) for block in _many.decode(_object.decode(new)["content"])]
        return "tool_use" in kinds and kinds[0] not in _THINKING
    return False


def _kind(raw: msgspec.Raw) -> str:
    try:
        return _block.decode(raw).type
    except msgspec.ValidationError:
        return ""
