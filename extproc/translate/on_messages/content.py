"""Content of a message: a text, or a list of typed parts, as blocks (mapping 4.3)."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from extproc.translate import want
from extproc.translate.on_messages.cache import mark
from extproc.translate.on_messages.draft import Draft
from extproc.translate.pair import Json
from extproc.translate.want import refused

_MARKS = ("type", "prompt_cache_breakpoint", "cache_control")


class Kind(NamedTuple):
    """How a kind of part is read."""

    build: Callable[[Draft, Json, str], Json]
    """Part and its path -> block. Raises Refused."""
    members: frozenset[str]
    """Known ones."""


Kinds = Mapping[str, Kind]


def kind(build: Callable[[Draft, Json, str], Json], *members: str) -> Kind:
    return Kind(build, frozenset((*_MARKS, *members)))


def text(member: str) -> Kind:
    """A part with its text in that member."""
    return kind(lambda _, part, path: {"type": "text", "text": want.text(part, member, path)}, member)


def blocks(draft: Draft, holder: Json, key: str, path: str, kinds: Kinds) -> list[Json]:
    """Blank text is none, since Anthropic refuses it."""
    found = holder.get(key)
    if isinstance(found, str):
        return [{"type": "text", "text": found}] if found.strip() else []
    out = []
    for n, item in enumerate(want.optional_sequence(holder, key, path)):
        where = f"{path}.{key}.{n}"
        part = want.item(item, where)
        reader = kinds[want.one_of(want.text(part, "type", where), tuple(kinds), f"{where}.type")]
        draft.warnings.unknown(part, reader.members, where)
        block = reader.build(draft, part, where)
        if block["type"] != "text" or block["text"].strip():
            out.append(mark(block, part))
    return out


def required(draft: Draft, message: Json, path: str, kinds: Kinds) -> list[Json]:
    if message.get("content") is None:
        raise refused(f"{path}.content", want.REQUIRED, code="missing_required_parameter")
    return blocks(draft, message, "content", path, kinds)


def result(draft: Draft, message: Json, key: str, path: str, kinds: Kinds) -> str | list[Json]:
    """What a tool said."""
    found = message.get(key)
    if isinstance(found, str):
        return found if found.strip() else ""
    return blocks(draft, message, key, path, kinds)
