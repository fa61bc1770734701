"""Content of a message as blocks (mapping 4.3)."""

from extproc.translate import want
from extproc.translate.chat_on_messages import media
from extproc.translate.chat_on_messages.cache import mark
from extproc.translate.chat_on_messages.draft import Draft
from extproc.translate.pair import Json
from extproc.translate.want import refused, unsupported

_TEXT = ("text",)
_SEEN = ("text", "image_url", "file")
_USER = ("text", "image_url", "file", "input_audio")
_ASSISTANT = ("text", "refusal")
_MARKS = ("type", "prompt_cache_breakpoint", "cache_control")


def content(draft: Draft, message: Json, path: str, kinds: tuple[str, ...]) -> list[Json]:
    """The blocks of `content`; blank text is none, since Anthropic refuses it."""
    found = message.get("content")
    if isinstance(found, str):
        return [{"type": "text", "text": found}] if found.strip() else []
    blocks = []
    for n, item in enumerate(want.optional_sequence(message, "content", path)):
        where = f"{path}.content.{n}"
        part = want.item(item, where)
        kind = want.one_of(want.text(part, "type", where), kinds, f"{where}.type")
        draft.warnings.unknown(part, frozenset((*_MARKS, kind)), where)
        block = _block(draft, part, kind, where)
        if block["type"] != "text" or block["text"].strip():
            blocks.append(mark(block, part))
    return blocks


def _block(draft: Draft, part: Json, kind: str, path: str) -> Json:
    match kind:
        case "image_url":
            return media.image(draft, part, path)
        case "file":
            return media.file(part, path)
        case "input_audio":
            raise unsupported(path, "the model hears no audio")
        case _:
            return {"type": "text", "text": want.text(part, kind, path)}


def texts(draft: Draft, message: Json, path: str) -> list[Json]:
    return _required(draft, message, path, _TEXT)


def user(draft: Draft, message: Json, path: str) -> list[Json]:
    return _required(draft, message, path, _USER)


def assistant(draft: Draft, message: Json, path: str) -> list[Json]:
    blocks = content(draft, message, path, _ASSISTANT)
    if refusal := want.optional_text(message, "refusal", path):
        blocks.append({"type": "text", "text": refusal})
    return blocks


def result(draft: Draft, message: Json, path: str) -> str | list[Json]:
    """What a tool said; the types allow text only, but clients send pictures too."""
    found = message.get("content")
    if isinstance(found, str):
        return found if found.strip() else ""
    return content(draft, message, path, _SEEN)


def _required(draft: Draft, message: Json, path: str, kinds: tuple[str, ...]) -> list[Json]:
    if message.get("content") is None:
        raise refused(f"{path}.content", want.REQUIRED, code="missing_required_parameter")
    return content(draft, message, path, kinds)
