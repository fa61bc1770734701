"""A Chat Completions request as a conversation (docs/mapping.md 4.1 to 4.4)."""

from collections.abc import Callable
from typing import Any

import msgspec

from extproc.translate import checked
from extproc.translate import openai_members as members
from extproc.translate.checked import Json, Warnings, refused, unsupported
from extproc.translate.conversation import (
    AnswerShape,
    AssistantPart,
    Audio,
    Conversation,
    Image,
    Loss,
    Refusal,
    ResultPart,
    Setting,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    UserPart,
)
from extproc.translate.dialects.chat import read_tools
from extproc.translate.dialects.chat.reasoning import read_reasoning
from extproc.translate.openai_content import cache_hint, read_file, read_image
from extproc.translate.pair import Target
from extproc.translate.turns import TurnBuilder

# `name` is known and goes no further: Anthropic has no place for it, and Groq refuses it.
_NAMED = ("role", "content", "name")
_KNOWN_BY_ROLE: dict[str, frozenset[str]] = {
    "system": frozenset(_NAMED),
    # OpenAI's newer word for `system`; most other servers know only the old one.
    "developer": frozenset(_NAMED),
    "user": frozenset(_NAMED),
    # `annotations` and `parsed` come with an answer that is sent back as it was received.
    "assistant": frozenset((
        *_NAMED, "annotations", "audio", "function_call", "parsed", "reasoning", "reasoning_content",
        "reasoning_details", "refusal", "thinking_blocks", "tool_calls",
    )),
    "tool": frozenset((*_NAMED, "tool_call_id")),
    "function": frozenset(_NAMED),
}  # fmt: skip
_ROLES = tuple(_KNOWN_BY_ROLE)
_PART_MEMBERS = {
    name: frozenset(("type", "prompt_cache_breakpoint", "cache_control", name))
    for name in ("text", "refusal", "image_url", "file", "input_audio")
}
_OF_RESULTS = ("text", "image_url", "file")
_OF_USERS = (*_OF_RESULTS, "input_audio")
_TYPED = frozenset((
    "function_call", "functions", "logprobs", "max_completion_tokens", "max_tokens", "messages", "metadata", "model",
    "parallel_tool_calls", "reasoning_effort", "response_format", "service_tier", "stop", "stream", "stream_options",
    "temperature", "tool_choice", "tools", "top_k", "top_logprobs", "top_p", "user", "safety_identifier", "verbosity",
    "web_search_options", "n", "modalities", *members.CACHE_MEMBERS,
))  # fmt: skip
# https://platform.openai.com/docs/api-reference/chat/create: what cannot be had elsewhere and does not change what the
# answer says is dropped; what might is warned of.
_UNTYPED: dict[str, Loss] = {
    "audio": "drop",  # without the modality nothing is spoken
    "prediction": "drop",  # it only makes an answer come sooner
    "store": "warn",  # the client may look for the answer later
    "logit_bias": "warn",
    "presence_penalty": "warn",
    "frequency_penalty": "warn",
    "seed": "warn",
    "moderation": "warn",
}
_KNOWN = _TYPED | _UNTYPED.keys()


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


class _Request(msgspec.Struct, gc=False):
    """The members that are checked, and their types
    (https://platform.openai.com/docs/api-reference/chat/create)."""

    messages: list[Json]
    model: str | None = None
    tools: list[Json] | None = None
    # What tools were before `tools`: deprecated, and still sent
    # (https://platform.openai.com/docs/api-reference/chat/create#chat-create-functions).
    functions: list[Json] | None = None
    n: int | None = None
    modalities: list[Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: Json | None = None
    reasoning_effort: str | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    temperature: int | float | None = None
    top_p: int | float | None = None
    top_k: int | None = None
    safety_identifier: str | None = None
    user: str | None = None
    service_tier: str | None = None
    verbosity: str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    metadata: Json | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


def read_request(body: Json, target: Target, warnings: Warnings) -> Conversation:
    """Raises Refused, with the path of the fault."""
    request = checked.typed(body, _Request, "")
    _check(request, body)
    turns = TurnBuilder(repair_interrupted=target.profile.repair_interrupted)
    _Messages(turns, warnings).read(request.messages)
    tools, choice = read_tools.read(body, request.tools or [], request.functions or [], warnings)
    members.unknown(body, _KNOWN, warnings)
    # Parallel calls were unknown when there were only functions.
    parallel = Setting(False, "functions") if request.functions else None
    return Conversation(
        model=request.model or target.model,
        turns=turns.end(),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel or members.setting(request.parallel_tool_calls, "parallel_tool_calls"),
        output_format=members.output_format(request.response_format, "response_format", nested=True),
        thinking=_thinking(members.effort(request.reasoning_effort, "reasoning_effort")),
        max_tokens=members.limit(max_completion_tokens=request.max_completion_tokens, max_tokens=request.max_tokens),
        stop=_stop(body, warnings),
        temperature=members.setting(request.temperature, "temperature"),
        top_p=members.setting(request.top_p, "top_p"),
        top_k=members.setting(request.top_k, "top_k"),
        user=members.user_of(safety_identifier=request.safety_identifier, user=request.user),
        service_tier=members.service_tier_of(request.service_tier),
        verbosity=members.setting(request.verbosity, "verbosity"),
        logprobs=Setting(request.top_logprobs or 0, "logprobs") if request.logprobs or request.top_logprobs else None,
        metadata=members.setting(request.metadata or None, "metadata"),
        prompt_cache={name: body[name] for name in members.CACHE_MEMBERS if body.get(name) is not None},
        unmapped=(*members.unmapped(body, _UNTYPED), *members.anthropic(body)),
        shape=AnswerShape(
            stream=bool(request.stream),
            # The last chunk, with the usage, has an empty list of choices, which some clients cannot read: it goes only
            # to clients that ask for it.
            include_usage=bool(request.stream_options and request.stream_options.include_usage),
            legacy=bool(request.functions) and not request.tools,
        ),
    )


def _check(request: _Request, body: Json) -> None:
    # Messages and Responses have no such member, and to ask several times would multiply the cost unseen.
    if request.n is not None and request.n > 1:
        raise unsupported("n", "the model gives one answer per request")
    if request.n is not None and request.n < 1:
        raise refused("n", "Input should be greater than or equal to 1")
    if any(modality != "text" for modality in request.modalities or ()):
        raise unsupported("modalities", "the model answers with text only, not with audio")
    if body.get("moderation") is not None:
        members.check_moderation(body)


def _thinking(effort: Setting[str] | None) -> Thinking:
    """Only who asks for reasoning is shown any; what the next turn needs is carried all the same."""
    hidden = effort is None or effort.value == "none"
    return Thinking(effort, shown="hidden" if hidden else "yes")


def _stop(body: Json, warnings: Warnings) -> Setting[tuple[str, ...]] | None:
    found = body.get("stop")
    if found is None:
        return None
    listed = not isinstance(found, str)
    kept = []
    for n, sequence in enumerate(checked.optional_texts(body, "stop", "") if listed else [found]):
        # Anthropic answers 400 to a stop sequence of white space alone.
        if sequence.strip():
            kept.append(sequence)
        else:
            path = f"stop.{n}" if listed else "stop"
            warnings.add("dropped", path, "stop sequences must contain more than white space")
    return Setting(tuple(kept), "stop") if kept else None


class _Function(msgspec.Struct, gc=False):
    name: str
    arguments: Any = None


class _Custom(msgspec.Struct, gc=False):
    name: str
    input: str


class _Call(msgspec.Struct, gc=False):
    id: str
    type: str | None = None
    function: _Function | None = None
    custom: _Custom | None = None


class _Message(msgspec.Struct, kw_only=True, gc=False):
    content: str | list[Json] | None = None


class _AssistantMessage(_Message, kw_only=True, gc=False):
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None
    audio: Any = None


class _ToolMessage(_Message, kw_only=True, gc=False):
    tool_call_id: str


class _Messages:
    """Reads each message once, in order."""

    def __init__(self, turns: TurnBuilder, warnings: Warnings) -> None:
        self._turns = turns
        self._warnings = warnings
        self._legacy_call = ""
        """The id that was made up for the last `function_call`."""

    def read(self, messages: list[Json]) -> None:
        for n, message in enumerate(messages):
            path = f"messages.{n}"
            role = checked.one_of(checked.text(message, "role", path), _ROLES, f"{path}.role")
            self._warnings.unknown(message, _KNOWN_BY_ROLE[role], path)
            match role:
                case "user":
                    sent = checked.typed(message, _Message, path)
                    self._turns.user(self._required(sent, path, self._user_part), path)
                case "assistant":
                    self._assistant(checked.typed(message, _AssistantMessage, path), message, n)
                case "tool":
                    result = checked.typed(message, _ToolMessage, path)
                    self._result(result.tool_call_id, result, path, f"{path}.tool_call_id")
                case "function":
                    self._function(checked.typed(message, _Message, path), path)
                case _:
                    sent = checked.typed(message, _Message, path)
                    self._turns.instructions(self._required(sent, path, self._text_part), path)

    def _assistant(self, message: _AssistantMessage, sent: Json, n: int) -> None:
        path = f"messages.{n}"
        self._turns.settle()
        # It is an id under which OpenAI keeps what it has spoken.
        if message.audio is not None:
            self._warnings.add("dropped", f"{path}.audio", "spoken answers are not in the request")
        spoken: list[AssistantPart] = list(_parts(message.content, path, self._assistant_part))
        if message.refusal:
            spoken.append(Refusal(message.refusal, f"{path}.refusal"))
        spoken += [_call(call, f"{path}.tool_calls.{k}") for k, call in enumerate(message.tool_calls or ())]
        if message.function_call is not None:
            # `function_call`, of the time before tools, has no id: the message with the result names the function.
            self._legacy_call = f"call_fn_{n}"
            spoken.append(_function(self._legacy_call, message.function_call, f"{path}.function_call"))
        self._turns.calls_at(f"{path}.tool_calls")
        # Claude refuses calls whose turn does not begin with their thinking:
        # https://github.com/anomalyco/opencode/issues/3077.
        self._turns.assistant([*read_reasoning(sent, path), *spoken] if spoken else [], path)

    def _function(self, message: _Message, path: str) -> None:
        if not self._turns.is_open(self._legacy_call):
            raise refused(path, "no function call precedes this message")
        self._result(self._legacy_call, message, path, path)

    def _result(self, call_id: str, message: _Message, path: str, id_path: str) -> None:
        """The types allow text only, but clients send pictures too."""
        parts = tuple(_parts(message.content, path, self._result_part))
        self._turns.result(ToolResult(call_id, parts, f"{path}.content"), id_path)

    def _required(self, message: _Message, path: str, read: Callable[[Json, str], Any]) -> list[Any]:
        if message.content is None:
            raise checked.missing(f"{path}.content")
        return _parts(message.content, path, read)

    # Parts

    def _kind(self, part: Json, allowed: tuple[str, ...], path: str) -> str:
        kind = checked.one_of(checked.text(part, "type", path), allowed, f"{path}.type")
        self._warnings.unknown(part, _PART_MEMBERS[kind], path)
        return kind

    def _text_part(self, part: Json, path: str) -> Text:
        self._kind(part, ("text",), path)
        return _text(part, path)

    def _assistant_part(self, part: Json, path: str) -> Text | Refusal:
        kind = self._kind(part, ("text", "refusal"), path)
        return Refusal(checked.text(part, "refusal", path), path) if kind == "refusal" else _text(part, path)

    def _user_part(self, part: Json, path: str) -> UserPart:
        kind = self._kind(part, _OF_USERS, path)
        if kind != "input_audio":
            return _seen(part, kind, path)
        audio, where = checked.mapping(part, "input_audio", path), f"{path}.input_audio"
        return Audio(checked.text(audio, "data", where), checked.text(audio, "format", where), path)

    def _result_part(self, part: Json, path: str) -> ResultPart:
        return _seen(part, self._kind(part, _OF_RESULTS, path), path)


def _text(part: Json, path: str) -> Text:
    return Text(checked.text(part, "text", path), path, cache_hint(part))


def _seen(part: Json, kind: str, path: str) -> ResultPart:
    if kind == "text":
        return _text(part, path)
    if kind == "image_url":
        return _image(part, path)
    return read_file(checked.mapping(part, "file", path), f"{path}.file", cache_hint(part))


def _image(part: Json, path: str) -> Image:
    """Some clients write the address where its object belongs."""
    where, hint = f"{path}.image_url", cache_hint(part)
    # Mistral's client sends the address alone.
    if isinstance(part.get("image_url"), str):
        return read_image(part["image_url"], where, None, hint)
    image = checked.mapping(part, "image_url", path)
    url, detail = checked.text(image, "url", where), checked.optional_text(image, "detail", where)
    return read_image(url, f"{where}.url", detail, hint)


def _parts(content: str | list[Json] | None, path: str, read: Callable[[Json, str], Any]) -> list[Any]:
    """The parts of `content`, without empty text."""
    if isinstance(content, str):
        return [Text(content, f"{path}.content")] if content else []
    parts = [read(part, f"{path}.content.{n}") for n, part in enumerate(content or ())]
    return [part for part in parts if not isinstance(part, Text) or part.text]


def _call(call: _Call, path: str) -> ToolCall:
    kind = call.type or ("custom" if call.custom is not None else "function")
    if checked.one_of(kind, ("function", "custom"), f"{path}.type") == "function":
        if call.function is None:
            raise checked.missing(f"{path}.function")
        return _function(call.id, call.function, f"{path}.function")
    if call.custom is None:
        raise checked.missing(f"{path}.custom")
    return ToolCall(call.id, call.custom.name, call.custom.input, f"{path}.custom.input", "custom")


def _function(call_id: str, function: _Function, path: str) -> ToolCall:
    if not function.name:
        raise refused(f"{path}.name", "String should have at least 1 character")
    return ToolCall(call_id, function.name, members.arguments(function.arguments), f"{path}.arguments")
