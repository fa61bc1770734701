"""Content of an input item as blocks (mapping 6.5)."""

from typing import NoReturn

from extproc.translate import want
from extproc.translate.on_messages import content, draft, media
from extproc.translate.pair import Json
from extproc.translate.want import unsupported


def _image(draft: draft.Draft, part: Json, path: str) -> Json:
    media.without_id(part, path)
    return media.image(draft, want.text(part, "image_url", path), f"{path}.image_url")


def _file(draft: draft.Draft, part: Json, path: str) -> Json:
    by_url = part.get("file_data") is None and part.get("file_url") is not None
    return media.linked(draft, part, path) if by_url else media.file(part, path)


def _audio(_draft: draft.Draft, _part: Json, path: str) -> NoReturn:
    raise unsupported(path, "the model hears no audio")


_TEXT = {"input_text": content.text("text")}
_SEEN = {
    **_TEXT,
    "input_image": content.kind(_image, "image_url", "file_id", "detail"),
    "input_file": content.kind(_file, "file_data", "file_url", "file_id", "filename", "detail"),
}
_USER = {**_SEEN, "input_audio": content.kind(_audio, "input_audio")}
_ASSISTANT = {
    **_TEXT,
    "output_text": content.kind(content.text("text").build, "text", "annotations", "logprobs"),
    "refusal": content.text("refusal"),
}


def texts(draft: draft.Draft, message: Json, path: str) -> list[Json]:
    return content.required(draft, message, path, _TEXT)


def user(draft: draft.Draft, message: Json, path: str) -> list[Json]:
    return content.required(draft, message, path, _USER)


def assistant(draft: draft.Draft, message: Json, path: str) -> list[Json]:
    return content.required(draft, message, path, _ASSISTANT)


def output(draft: draft.Draft, item: Json, path: str) -> str | list[Json]:
    """What a tool said."""
    return content.result(draft, item, "output", path, _SEEN)
