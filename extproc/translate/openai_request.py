"""What a conversation becomes in both of OpenAI's dialects alike (docs/mapping.md 1, 6.1, 6.6, 6.7)."""

from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from typing import Any

import msgspec

from extproc.providers.profiles import Profile
from extproc.translate import asked_choice, names, schema
from extproc.translate.conversation import (
    Base64Data,
    CacheHint,
    Conversation,
    Document,
    FileId,
    Image,
    OutputFormat,
    PlainText,
    Setting,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    Unmapped,
    WebAddress,
)
from extproc.translate.levels import nearest
from extproc.translate.media import PDF, data_url, is_text, plain_text
from extproc.translate.want import Json, refused, unsupported
from extproc.translate.warnings import Warnings

SEAM = "\n\n"
_USER_ID_MAX = 64
_SCHEMA_PROMPT = "Answer with JSON that fulfils this JSON schema, and with nothing else:\n"
_ANY_JSON = "Respond with a single valid JSON object and nothing else."
_NO_TOOLS_ON_CHAT = (
    "this model takes no function tools on Chat Completions, only on the Responses API: "
    "its provider needs `dialects: [responses]`"
)
_FOREIGN_TIERS = frozenset(("on_demand",))
"""Groq's own word, which OpenAI does not know."""


class ToolNames:
    """The provider's names of the client's tools; remembers them for the answer."""

    def __init__(self, profile: Profile) -> None:
        self._limit = profile.tool_name_max
        self.originals: dict[str, str] = {}

    def upstream(self, name: str) -> str:
        short = names.tool_name(name, self._limit)
        self.originals.setdefault(short, name)
        return short


def check_tools_of_chat(profile: Profile) -> None:
    """For a model that takes functions by the Responses API only. Raises Refused."""
    if not profile.chat_tools:
        raise unsupported("tools", _NO_TOOLS_ON_CHAT)


def choice_to_send(choice: ToolChoice, profile: Profile, warnings: Warnings) -> tuple[ToolChoice, str]:
    """The choice, and what the system prompt says for one to which this model cannot be made."""
    if profile.forced_tool_choice or (choice.mode != "required" and not choice.name):
        return choice, ""
    warnings.add("emulated", choice.path.partition(".")[0], "this model cannot be made to call a tool")
    note = asked_choice.CALL_THIS.format(choice.name) if choice.name else asked_choice.CALL_ONE
    return msgspec.structs.replace(choice, mode="auto", name=""), note


def lose_unmapped(unmapped: Iterable[Unmapped], known: Collection[str], warnings: Warnings) -> None:
    """Reports or refuses the members that this provider has no place for."""
    for member in unmapped:
        if member.name in known or member.loss == "drop":
            continue
        if member.loss == "reject":
            raise unsupported(member.path, member.problem)
        warnings.add("dropped", member.path, member.problem)


def bounded_limit(asked: Setting[int] | None, profile: Profile, warnings: Warnings, least: int = 1) -> int | None:
    """The limit of the answer in tokens, clamped to what the model can do."""
    if asked is None:
        return None
    value, most = asked.value, profile.max_output_tokens
    if most is not None and value > most:
        warnings.add("clamped", asked.path, f"Input should be less than or equal to {most}")
        value = most
    if value < least:
        warnings.add("clamped", asked.path, f"Input should be greater than or equal to {least}")
        value = least
    return value


def sampling(
    conversation: Conversation, profile: Profile, effort: str | None, warnings: Warnings, *, top_k: bool
) -> Json:
    """temperature, top_p and, where the dialect has it, top_k, as far as the model takes them."""
    allowed = effort == "none" if profile.sampling_needs_no_effort else profile.sampling
    sent: Json = {}
    for name in ("temperature", "top_p", "top_k"):
        setting: Setting[Any] | None = getattr(conversation, name)
        if setting is None:
            continue
        if allowed and (name != "top_k" or top_k):
            sent[name] = setting.value
        else:
            warnings.add("dropped", setting.path)
    return sent


def user(conversation: Conversation, profile: Profile) -> Json:
    """Who asks, for the provider's abuse checks; OpenAI's limit is 64 characters."""
    if conversation.user is None or profile.user_field == "none":
        return {}
    value = conversation.user.value
    if len(value) > _USER_ID_MAX:
        value = sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
    return {profile.user_field: value}


def service_tier(conversation: Conversation, profile: Profile, warnings: Warnings) -> Json:
    tier = conversation.service_tier
    if tier is None:
        return {}
    if not profile.service_tier or tier.value in _FOREIGN_TIERS:
        warnings.add("dropped", tier.path)
        return {}
    return {"service_tier": tier.value}


def clamped_effort(thinking: Thinking, profile: Profile, warnings: Warnings) -> str | None:
    """The nearest level of effort that the model has: downwards, else upwards (docs/mapping.md 1.9)."""
    wanted = thinking.effort
    if wanted is None:
        return None
    if not profile.efforts:
        if thinking.is_explicit:
            warnings.add("dropped", wanted.path)
        return None
    found = nearest(wanted.value, profile.efforts)
    if found != wanted.value:
        warnings.add("clamped", wanted.path)
    return found


def cache_breakpoint(hint: CacheHint | None, profile: Profile) -> Json:
    """OpenAI's mark for its prompt cache on a part."""
    if hint is None or not (hint.openai or profile.map_cache_control):
        return {}
    return {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"} if hint.long else {"mode": "explicit"}}


# Tools


def function(tool: Tool, name: str, warnings: Warnings) -> Json:
    """Members of a function: name, description, parameters, strict (bool)."""
    found: Json = {"name": name}
    if tool.description:
        found["description"] = tool.description
    where = f"{tool.path}.parameters"
    repaired = schema.repair(tool.parameters or {}, where)
    if repaired.changed_meaning:
        warnings.add("approx", where, "the schema must be an object without alternatives at its top")
    found["parameters"] = repaired.schema
    strict = bool(tool.strict) and schema.fits_strict(repaired.schema)
    if tool.strict and not strict:
        warnings.add("dropped", f"{tool.path}.strict", "the schema does not suit the upstream's strict mode")
    found["strict"] = strict
    return found


def unique_names(sent: Iterable[str]) -> None:
    """Names may have become equal by being shortened. Raises Refused."""
    listed = list(sent)
    if len(set(listed)) != len(listed):
        raise refused("tools", "Tool names must be unique.")


def check_forced_tool(choice: ToolChoice | None, *, sent: bool, lost: bool) -> None:
    """A choice that leaves only tools which cannot run here must not be dropped. Raises Refused."""
    if choice is None:
        return
    if choice.hosted:
        raise unsupported(choice.path, f"server tool '{choice.hosted[:64]}' cannot run with this model")
    if lost and not sent and choice.mode == "required":
        raise unsupported(choice.path, "none of the tools can run with this model")


# Structured output


def json_schema(wanted: OutputFormat, warnings: Warnings) -> Json:
    """name, schema and strict of a format with a schema."""
    repaired = schema.repair(wanted.schema or {}, f"{wanted.path}.schema", add_required=False)
    fits = not repaired.changed_meaning and schema.fits_strict(repaired.schema)
    strict = fits if wanted.strict is None else fits and wanted.strict
    if not strict and wanted.strict is not False:
        warnings.add("approx", wanted.path, "the schema does not suit the upstream's strict mode")
    described = {"description": wanted.description} if wanted.description else {}
    return {"name": wanted.name, "schema": repaired.schema, "strict": strict, **described}


def format_prompt(wanted: OutputFormat | None, profile: Profile, warnings: Warnings) -> str:
    """What the system prompt must say where the model has no such mode."""
    if wanted is None or profile.structured_output == "json_schema":
        return ""
    if wanted.schema is None and profile.structured_output == "json_object":
        return ""
    warnings.add("emulated", wanted.path)
    return _SCHEMA_PROMPT + msgspec.json.encode(wanted.schema).decode() if wanted.schema else _ANY_JSON


# Content


def image_url(image: Image, profile: Profile) -> str:
    """Raises Refused for what the provider cannot read."""
    match image.source:
        case Base64Data() as data:
            return data_url(data)
        case WebAddress(url):
            if not profile.image_url:
                raise unsupported(image.path, "the upstream takes no images by URL; send the data as base64")
            return url
        case FileId():
            raise unsupported(image.path, "an image by its file id cannot be sent to another provider; send its data")


def document_text(document: Document) -> str | None:
    """A text document in words, for a provider without a place for it; None for a file of another kind."""
    match document.source:
        case PlainText(text):
            return _framed(document, text)
        case Base64Data(media_type) as data if is_text(media_type):
            return _framed(document, plain_text(data, document.path))
        case _:
            return None


def _framed(document: Document, text: str) -> str:
    context = f"{document.context}\n" if document.context else ""
    return f"[Document: {document.title or 'untitled'}]\n{context}{text}\n[End of document]"


def file_name(document: Document) -> str:
    return document.title if document.title.lower().endswith(".pdf") else f"{document.title or 'document'}.pdf"


def unreadable_file(document: Document) -> str:
    """What stands in the place of a file in the history that the model cannot read."""
    what = "PDF" if isinstance(document.source, Base64Data) and document.source.media_type == PDF else "file"
    return f"[{what} {document.title or 'document'}: this model cannot read {what} files]"


def result_text(result: ToolResult, text: str) -> str:
    """The text of a tool's result; a failure is said in words, since neither dialect has a member for it."""
    if not result.is_error:
        return text
    if not text.strip():
        return "Error: (no details)"
    return text if text.lower().startswith("error") else f"Error: {text}"


def joined(parts: Iterable[Text]) -> str:
    return SEAM.join(part.text for part in parts)


def encode(body: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(body)
