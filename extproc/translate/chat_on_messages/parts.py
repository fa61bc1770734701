"""Content of a Chat message as blocks (mapping 4.3)."""

from typing import NoReturn

from extproc.translate import want
from extproc.translate.on_messages import content, media
from extproc.translate.on_messages.draft import Draft
from extproc.translate.pair import Json
from extproc.translate.want import unsupported


def _image(draft: Draft, part: Json, path: str) -> Json:
    where = f"{path}.image_url"
    if isinstance(url := part.get("image_url"), str):
        return media.image(draft, url, where)
    return media.image(draft, want.text(want.mapping(part, "image_url", path), "url", where), f"{where}.url")


def _file(_: Draft, part: Json, path: str) -> Json:
    return media.file(want.mapping(part, "file", path), f"{path}.file")


def _audio(_draft: Draft, _part: Json, path: str) -> NoReturn:
    raise unsupported(path, "the model hears no audio")


_TEXT = {"text": content.text("text")}
_SEEN = {**_TEXT, "image_url": content.kind(_image, "image_url"), "file": content.kind(_file, "file")}
_USER = {**_SEEN, "input_audio": content.kind(_audio, "input_audio")}
_ASSISTANT = {**_TEXT, "refusal": content.text("refusal")}


def texts(draft: Draft, message: Json, path: str) -> list[Json]:
    return content.required(draft, message, path, _TEXT)


def user(draft: Draft, message: Json, path: str) -> list[Json]:
    return content.required(draft, message, path, _USER)


def assistant(draft: Draft, message: Json, path: str) -> list[Json]:
    blocks = content.blocks(draft, message, "content", path, _ASSISTANT)
    if refusal := want.optional_text(message, "refusal", path):
        blocks.append({"type": "text", "text": refusal})
    return blocks


def result(draft: Draft, message: Json, path: str) -> str | list[Json]:
    """The types allow text only, but clients send pictures too."""
    return content.result(draft, message, "content", path, _SEEN)
