"""A Responses request as a conversation (docs/mapping.md 6.5, 6.7)."""

from collections.abc import Iterable
from typing import Any

import msgspec

from extproc.translate import checked
from extproc.translate import openai_members as members
from extproc.translate.checked import Json, Warnings, unsupported
from extproc.translate.conversation import (
    AnswerShape,
    Compacting,
    Conversation,
    Loss,
    Setting,
    Text,
    Thinking,
)
from extproc.translate.dialects.responses.read_input import InputItems
from extproc.translate.dialects.responses.read_tools import Tools, read_choice
from extproc.translate.pair import Target
from extproc.translate.turns import TurnBuilder

_NO_STATE = "nothing is stored here; send the whole conversation as `input`"
_STATE = ("conversation", "previous_response_id", "prompt")
_TYPED = frozenset((
    "background", "context_management", "include", "input", "instructions", "max_output_tokens", "metadata", "model",
    "parallel_tool_calls", "reasoning", "safety_identifier", "service_tier", "stream", "stream_options", "temperature",
    "text", "tool_choice", "tools", "top_k", "top_logprobs", "top_p", "truncation", "user", *_STATE,
    *members.CACHE_MEMBERS,
))  # fmt: skip
_UNTYPED: dict[str, Loss] = {
    "access_programs": "drop",
    "background_options": "drop",
    "client_metadata": "drop",
    "image": "drop",
    "store": "drop",  # true is OpenAI's default, so that it says little
    "max_tool_calls": "warn",
    "moderation": "warn",
}
_KNOWN = _TYPED | _UNTYPED.keys()
_ENCRYPTED, _LOGPROBS = "reasoning.encrypted_content", "message.output_text.logprobs"
# SDKs' types of a response require these members: https://platform.openai.com/docs/api-reference/responses/object.
_ECHOED: Json = {
    "instructions": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "temperature": None,
    "top_p": None,
    "tool_choice": "auto",
    "tools": [],
}
_ECHOED_IF_SENT = ("reasoning", "text")


class _Reasoning(msgspec.Struct, frozen=True, gc=False):
    effort: str | None = None
    summary: Any = None
    generate_summary: Any = None
    """An older name of `summary`."""
    context: Any = None
    mode: Any = None


class _Text(msgspec.Struct, frozen=True, gc=False):
    format: Any = None
    verbosity: str | None = None


class _Request(msgspec.Struct, gc=False):
    """The members that are checked, and their types
    (https://platform.openai.com/docs/api-reference/responses/create)."""

    input: str | list[Json]
    model: str | None = None
    tools: list[Json] | None = None
    instructions: str | None = None
    background: bool | None = None
    truncation: str = "disabled"
    include: list[Any] = []
    text: _Text = _Text()
    reasoning: _Reasoning = _Reasoning()
    context_management: list[Json] | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    temperature: int | float | None = None
    top_p: int | float | None = None
    top_k: int | None = None
    safety_identifier: str | None = None
    user: str | None = None
    service_tier: str | None = None
    top_logprobs: int | None = None
    metadata: Json | None = None
    stream: bool | None = None


def read_request(body: Json, target: Target, warnings: Warnings) -> Conversation:
    """Raises Refused, with the path of the fault."""
    # SDKs write null for what is absent.
    sent = {name: value for name, value in body.items() if value is not None}
    request = checked.typed(sent, _Request, "")
    _check(request, sent, warnings)
    tools = Tools(warnings)
    tools.read(request.tools or [], "tools")
    turns = TurnBuilder(repair_interrupted=target.profile.repair_interrupted)
    items = InputItems(turns, tools, warnings)
    items.read(request.input)
    members.unknown(body, _KNOWN, warnings)
    return Conversation(
        model=request.model or target.model,
        system=(Text(request.instructions, "instructions"),) if request.instructions else (),
        turns=turns.end(),
        path="input",
        compaction=tuple(_compaction(request.context_management or [])),
        tools=tools.declared(),
        tool_choice=read_choice(body, tools),
        parallel_tool_calls=members.setting(request.parallel_tool_calls, "parallel_tool_calls"),
        output_format=members.output_format(*items.output_format or (request.text.format, "text.format")),
        thinking=_thinking(members.effort(*_effort(request.reasoning, items.reasoning)), request.reasoning),
        max_tokens=members.limit(max_output_tokens=request.max_output_tokens),
        temperature=members.setting(request.temperature, "temperature"),
        top_p=members.setting(request.top_p, "top_p"),
        top_k=members.setting(request.top_k, "top_k"),
        user=members.user_of(safety_identifier=request.safety_identifier, user=request.user),
        service_tier=members.service_tier_of(request.service_tier),
        verbosity=members.setting(request.text.verbosity, "text.verbosity"),
        logprobs=_logprobs(request),
        metadata=members.setting(request.metadata or None, "metadata"),
        prompt_cache={name: sent[name] for name in members.CACHE_MEMBERS if name in sent},
        unmapped=(*members.unmapped(body, _UNTYPED), *members.anthropic(body)),
        shape=AnswerShape(stream=bool(request.stream), echo=_echo(sent), namespaces=tools.namespaces),
    )


def _check(request: _Request, sent: Json, warnings: Warnings) -> None:
    for name in _STATE:
        if name in sent:
            raise unsupported(name, _NO_STATE)
    # The answer would be fetched later by its id: https://platform.openai.com/docs/guides/background.
    if request.background:
        raise unsupported("background", "answers are given at once; nothing is stored here")
    if "moderation" in sent:
        members.check_moderation(sent)
    # With `auto` OpenAI drops items from the middle of a conversation that is too long. Others refuse it.
    if checked.one_of(request.truncation, ("auto", "disabled"), "truncation") == "auto":
        warnings.add("dropped", "truncation")
    if any(word not in (_ENCRYPTED, _LOGPROBS) for word in request.include):
        warnings.add("dropped", "include")
    warnings.unknown(sent.get("text", {}), checked.members(_Text), "text")
    warnings.unknown(sent.get("reasoning", {}), checked.members(_Reasoning), "reasoning")
    _check_reasoning(request.reasoning, warnings)


def _compaction(edits: list[Json]) -> Iterable[Compacting]:
    for n, edit in enumerate(edits):
        path = f"context_management.{n}"
        checked.one_of(checked.text(edit, "type", path), ("compaction",), f"{path}.type")
        named = edit.get("compact_threshold") is not None
        threshold = checked.integer(edit, "compact_threshold", path) if named else None
        yield Compacting("context_management", threshold)


def _effort(reasoning: _Reasoning, later: tuple[Json, str] | None) -> tuple[str | None, str]:
    """Returns the level and its path. `later`: what an item of the input changed last, and its path."""
    if later is None:
        return reasoning.effort, "reasoning.effort"
    return checked.optional_text(later[0], "effort", later[1]), f"{later[1]}.effort"


def _thinking(effort: Setting[str] | None, reasoning: _Reasoning) -> Thinking:
    shown = reasoning.summary is not None or reasoning.generate_summary is not None
    # OpenAI shows reasoning as a summary, and only who asks for one gets it.
    return Thinking(effort, shown="yes" if shown else "hidden")


def _check_reasoning(reasoning: _Reasoning, warnings: Warnings) -> None:
    """Members of `reasoning` that only OpenAI's own models know. Raises Refused."""
    if reasoning.mode == "pro":
        raise unsupported("reasoning.mode", "this model has no such mode")
    for name in ("context", "mode"):
        if getattr(reasoning, name) is not None:
            warnings.add("dropped", f"reasoning.{name}")


def _logprobs(request: _Request) -> Setting[int] | None:
    if request.top_logprobs:
        return Setting(request.top_logprobs, "top_logprobs")
    return Setting(0, "include") if _LOGPROBS in request.include else None


def _echo(sent: Json) -> dict[str, bytes]:
    """Members of the request that the answer repeats, as JSON: they may be large, and nobody reads them here."""
    echo = {name: sent.get(name, otherwise) for name, otherwise in _ECHOED.items()}
    echo |= {name: sent[name] for name in _ECHOED_IF_SENT if name in sent}
    return {name: msgspec.json.encode(value) for name, value in echo.items()}
