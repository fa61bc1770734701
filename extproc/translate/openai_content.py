"""Content of a conversation in both of OpenAI's dialects alike: its files, its marks for the prompt cache, and what it
becomes for a provider (docs/mapping.md 1.4, 1.5, 4.3, 6.2). Nothing is fetched here."""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence

from extproc.providers.profiles import Profile
from extproc.translate import checked
from extproc.translate.checked import Json, Warnings, unsupported
from extproc.translate.conversation import (
    AssistantTurn,
    Base64Data,
    CacheHint,
    Conversation,
    Document,
    FileId,
    Image,
    PlainText,
    SystemTurn,
    Text,
    ToolResult,
    Turn,
    UserTurn,
    WebAddress,
)
from extproc.translate.provider_error import rejected

SEAM = "\n\n"
SUMMARY = "[Summary of the earlier conversation]\n"
NO_PREFILL = "This model does not support assistant message prefill. The conversation must end with a user message."
# https://platform.openai.com/docs/guides/prompt-caching
BREAKPOINTS = 4
_NO_FILES = "the upstream takes no PDF documents or other files; send the text"
_NO_URLS = "a document by URL cannot be sent on; send it as base64 or text"
PDF = "application/pdf"
_RAW_PDF = "JVBERi"
"""`%PDF-` in base64."""
_TEXT = re.compile(r"text/.+|application/(?:[\w.-]+\+)?(?:json|csv|markdown|x-markdown)")


def with_placed_instructions(
    conversation: Conversation, profile: Profile, warnings: Warnings
) -> tuple[list[Turn], list[Text]]:
    """The turns with instructions as the provider takes them in their midst: in place, or as a reminder of the user's;
    and the instructions that must stand before all turns. Those at the very beginning stay turns."""
    merges = profile.mid_system != "native"
    runs: list[list[Turn]] = []
    """Turns that become one."""
    hoisted: list[Text] = []
    # What stands before all turns is no instruction in their midst; the writer puts it into the system prompt.
    is_leading = True
    for turn in conversation.turns:
        is_leading = is_leading and isinstance(turn, SystemTurn)
        placed: Turn = turn
        if isinstance(turn, SystemTurn) and merges and not is_leading:
            if profile.mid_system == "hoist":
                if turn.if_moved != "drop":
                    warnings.add("reordered", turn.path, "instructions must come before the conversation")
                hoisted += turn.parts
                continue
            # Chat templates of Qwen and others raise for a system message that is not the first
            # (https://github.com/vllm-project/vllm/issues/41114); the tag is Claude Code's own for such text.
            reminder = f"<system-reminder>\n{joined(turn.parts)}\n</system-reminder>"
            placed = UserTurn((), (Text(reminder, turn.path),), turn.path)
        if merges and runs and isinstance(placed, UserTurn) and isinstance(runs[-1][-1], UserTurn):
            runs[-1].append(placed)
        else:
            runs.append([placed])
    return [_merged(run) if len(run) > 1 else run[0] for run in runs], hoisted


def grouped(turns: Iterable[Turn]) -> list[tuple[list[Turn], bool]]:
    """Neighbouring turns of one role, and whether the model has not answered them yet."""
    groups: list[list[Turn]] = []
    for turn in turns:
        if groups and type(turn) is type(groups[-1][0]):
            groups[-1].append(turn)
        else:
            groups.append([turn])
    answered = -1
    """The last group that the model has said something after."""
    for n, group in enumerate(groups[:-1]):
        if isinstance(group[0], AssistantTurn):
            answered = n
    return [(group, n > answered) for n, group in enumerate(groups)]


def _merged(run: list[Turn]) -> Turn:
    users = [turn for turn in run if isinstance(turn, UserTurn)]
    results = tuple(result for turn in users for result in turn.results)
    return UserTurn(results, tuple(part for turn in users for part in turn.parts), run[0].path)


def image_url(image: Image, profile: Profile) -> str:
    """Raises Refused for what the provider cannot read."""
    match image.source:
        case Base64Data() as data:
            return data_url(data)
        case WebAddress(url):
            if not profile.image_url:
                problem = rejected("the upstream takes no image by URL; send it as base64", "image_block")
                raise unsupported(image.path, problem)
            return url
        case FileId():
            raise unsupported(image.path, "an image by its file id cannot be sent to another provider; send its data")


def document_text(document: Document) -> str | None:
    """A text document in words, for a provider without a place for it; None for a file of another kind."""
    match document.source:
        case PlainText(text):
            return framed_document(document, text)
        case Base64Data(media_type) as data if is_text(media_type):
            return framed_document(document, plain_text(data, document.path))
        case _:
            return None


def file_name(document: Document) -> str:
    return document.title if document.title.lower().endswith(".pdf") else f"{document.title or 'document'}.pdf"


def unreadable(document: Document, warnings: Warnings, *, is_attached: bool) -> str:
    """What stands in the place of a file that the model cannot read. Raises Refused where the user has just attached
    it. Elsewhere, as in the history or in what a tool has read, a refusal would end the session for good, since the
    history is sent again each turn."""
    problem = _NO_URLS if isinstance(document.source, WebAddress) else _NO_FILES
    if is_attached:
        raise unsupported(document.path, rejected(problem, "document_block"))
    warnings.add("approx", document.part_path or document.path, problem)
    is_other = isinstance(document.source, Base64Data) and document.source.media_type != PDF
    what = "file" if is_other or isinstance(document.source, FileId) else "PDF"
    note = f"[{what} {document.title or 'document'}: this model cannot read {what} files]"
    return f"{document.context}\n{note}" if document.context else note


class MovedParts:
    """What cannot stay in the result of a tool and moves to the user message behind it."""

    def __init__(self, call_id: str) -> None:
        self.parts: list[Json] = []
        self._call_id = call_id
        self._counts: dict[str, int] = {}

    def move(self, kind: str, part: Json, text_type: str) -> str:
        """Returns what stands in its place."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        # Results are text in the Chat dialect. The label in both places tells the model what belongs together.
        label = f"{kind} #{self._counts[kind]} of tool result {self._call_id}"
        self.parts += [{"type": text_type, "text": f"[{label}]"}, part]
        return f"[{label} attached in the next user message]"


def result_content(result: ToolResult, written: list[Json], text_type: str, profile: Profile) -> str | list[Json]:
    """What a tool's result holds, from its parts as they were written: a string where all is text. A failure is said in
    words, since neither dialect has a member for it."""
    if any(part["type"] != text_type for part in written):
        return _failed_content(written, text_type) if result.is_error else written
    text = SEAM.join(part["text"] for part in written)
    text = _failure_text(text) if result.is_error else text
    hint = cache_breakpoint(result.cache, profile)
    return [{"type": text_type, "text": text, **hint}] if hint else text


def _failed_content(content: list[Json], text_type: str) -> list[Json]:
    """The parts of a result that is more than text; that the tool failed is said by the first text."""
    first = next((n for n, part in enumerate(content) if part["type"] == text_type), None)
    if first is None:
        return [{"type": text_type, "text": _failure_text("")}, *content]
    return [{**part, "text": _failure_text(part["text"])} if n == first else part for n, part in enumerate(content)]


def _failure_text(text: str) -> str:
    if not text.strip():
        return "Error: (no details)"
    return text if text.lower().startswith("error") else f"Error: {text}"


def joined(parts: Iterable[Text]) -> str:
    return SEAM.join(part.text for part in parts)


# Marks for the prompt cache


def cache_hint(holder: Json) -> CacheHint | None:
    """OpenAI's breakpoint on a part, or Anthropic's in an extra member."""
    anthropic, openai = holder.get("cache_control"), holder.get("prompt_cache_breakpoint")
    if isinstance(anthropic, dict):
        return CacheHint(long=anthropic.get("ttl") == "1h")
    return CacheHint(long=openai.get("ttl") == "12h", openai=True) if isinstance(openai, dict) else None


def cache_breakpoint(hint: CacheHint | None, profile: Profile) -> Json:
    """OpenAI's mark for its prompt cache on a part."""
    if hint is None or not (hint.openai or profile.map_cache_control):
        return {}
    # OpenAI's types require the mode, which has no other value.
    return {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"} if hint.long else {"mode": "explicit"}}


def keep_last_breakpoints(parts: Sequence[Json]) -> None:
    """OpenAI takes four."""
    marked = [part for part in parts if "prompt_cache_breakpoint" in part]
    for part in marked[:-BREAKPOINTS]:
        del part["prompt_cache_breakpoint"]


# Images and files


def read_image(url: str, path: str, detail: str | None, cache: CacheHint | None) -> Image:
    """`path`: of the URL. Raises Refused for what is neither data in base64 nor a web address."""
    url = url.strip()
    source = _data_url(url, path) if url[:5].lower() == "data:" else _web_address(url, path)
    return Image(source, path, detail, cache)


def read_file(found: Json, path: str, cache: CacheHint | None) -> Document:
    """An object with `file_data`, `file_url` or `file_id`, at `path`. Raises Refused."""
    title = checked.optional_text(found, "filename", path) or ""
    if found.get("file_id") is not None:
        return Document(FileId(checked.text(found, "file_id", path)), f"{path}.file_id", title, cache=cache)
    if found.get("file_data") is None and found.get("file_url") is not None:
        url = checked.text(found, "file_url", path).strip()
        return Document(_web_address(url, f"{path}.file_url"), f"{path}.file_url", title, cache=cache)
    where = f"{path}.file_data"
    raw = checked.text(found, "file_data", path).lstrip()
    # Some clients send a file's base64 without `data:` before it, where only the first bytes tell its type.
    data = Base64Data(PDF, _unspaced(raw)) if raw.startswith(_RAW_PDF) else _data_url(raw, where)
    return Document(data, where, title, cache=cache)


def is_text(media_type: str) -> bool:
    return _TEXT.fullmatch(media_type) is not None


def plain_text(data: Base64Data, path: str) -> str:
    """The text of a file. Raises Refused."""
    try:
        # A text file may begin with a byte order mark, which is no part of the text.
        return base64.b64decode(data.data, validate=True).decode("utf-8-sig")
    except (binascii.Error, ValueError):
        raise unsupported(path, "the file is not UTF-8 text in base64") from None


def framed_document(document: Document, text: str) -> str:
    """A text document in words, for a place that only takes text."""
    context = f"{document.context}\n" if document.context else ""
    return f"[Document: {document.title or 'untitled'}]\n{context}{text}\n[End of document]"


def data_url(data: Base64Data) -> str:
    return f"data:{data.media_type};base64,{data.data}"


def _web_address(url: str, path: str) -> WebAddress:
    if not url.lower().startswith(("http://", "https://")):
        raise unsupported(path, "Input should be a data: URL or a web address")
    return WebAddress(url)


def _data_url(url: str, path: str) -> Base64Data:
    head, comma, data = url.partition(",")
    scheme, _, rest = head.partition(":")
    media_type, *parameters = rest.split(";")
    if scheme.lower() != "data" or not comma or "base64" not in (word.strip().lower() for word in parameters):
        raise unsupported(path, "Input should be a data: URL in base64")
    return Base64Data(media_type.strip().lower(), _unspaced(data))


def _unspaced(data: str) -> str:
    # MIME breaks base64 into lines of 76 characters (RFC 2045, section 6.8); strict decoders refuse these.
    return "".join(data.split())
