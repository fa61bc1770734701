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
    OutputFormat,
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
    "store": "drop",
    "max_tool_calls": "warn",
    "moderation": "warn",
}
_KNOWN = _TYPED | _UNTYPED.keys()
_TEXT = frozenset(("format", "verbosity"))
_REASONING = frozenset(("context", "effort", "generate_summary", "mode", "summary"))
_ENCRYPTED, _LOGPROBS = "reasoning.encrypted_content", "message.output_text.logprobs"
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


def read_request(body: Json, target: Target, warnings: Warnings) -> Conversation:
    """Raises Refused, with the path of the fault."""
    _check(body, warnings)
    tools = Tools(warnings)
    tools.read(checked.optional_sequence(body, "tools", ""), "tools")
    turns = TurnBuilder(repair_interrupted=target.profile.repair_interrupted)
    items = InputItems(turns, tools, warnings)
    items.read(body)
    members.unknown(body, _KNOWN, warnings)
    instructions = checked.optional_text(body, "instructions", "")
    return Conversation(
        model=checked.optional_text(body, "model", "") or target.model,
        system=(Text(instructions, "instructions"),) if instructions else (),
        turns=turns.end(),
        path="input",
        compaction=tuple(_compaction(body)),
        tools=tools.declared(),
        tool_choice=read_choice(body, tools),
        parallel_tool_calls=members.flag(body, "parallel_tool_calls"),
        output_format=_output_format(*items.output_format or (_text(body).get("format"), "text.format")),
        thinking=_thinking(body, items.reasoning),
        max_tokens=members.limit(body, ("max_output_tokens",)),
        temperature=members.number(body, "temperature"),
        top_p=members.number(body, "top_p"),
        top_k=members.integer(body, "top_k"),
        user=members.asked_user(body),
        service_tier=members.asked_service_tier(body),
        verbosity=members.text(_text(body), "verbosity", "text"),
        logprobs=_logprobs(body),
        metadata=Setting(metadata, "metadata")
        if (metadata := checked.optional_mapping(body, "metadata", ""))
        else None,
        prompt_cache={name: body[name] for name in members.CACHE_MEMBERS if body.get(name) is not None},
        unmapped=(*members.unmapped(body, _UNTYPED), *members.anthropic(body)),
        shape=AnswerShape(stream=checked.flag(body, "stream", ""), echo=_echo(body), namespaces=tools.namespaces),
    )


def _check(body: Json, warnings: Warnings) -> None:
    for name in _STATE:
        if body.get(name) is not None:
            raise unsupported(name, _NO_STATE)
    if checked.flag(body, "background", ""):
        raise unsupported("background", "answers are given at once; nothing is stored here")
    if body.get("moderation") is not None:
        members.check_moderation(body)
    _check_truncation(body, warnings)
    _check_include(body, warnings)
    warnings.unknown(_text(body), _TEXT, "text")
    _check_reasoning(body, warnings)


def _check_truncation(body: Json, warnings: Warnings) -> None:
    if body.get("truncation") is None:
        return
    if checked.one_of(checked.text(body, "truncation", ""), ("auto", "disabled"), "truncation") == "auto":
        warnings.add("dropped", "truncation")


def _check_include(body: Json, warnings: Warnings) -> None:
    if any(word not in (_ENCRYPTED, _LOGPROBS) for word in checked.optional_sequence(body, "include", "")):
        warnings.add("dropped", "include")


def _compaction(body: Json) -> Iterable[Compacting]:
    for n, item in enumerate(checked.optional_sequence(body, "context_management", "")):
        path = f"context_management.{n}"
        edit = checked.item(item, path)
        checked.one_of(checked.text(edit, "type", path), ("compaction",), f"{path}.type")
        threshold = members.integer(edit, "compact_threshold", path)
        yield Compacting("context_management", None if threshold is None else threshold.value)


def _text(body: Json) -> Json:
    return checked.optional_mapping(body, "text", "")


def _output_format(found: Any, path: str) -> OutputFormat | None:
    if found is None:
        return None
    wanted = checked.item(found, path)
    if not wanted:
        return None
    kind = checked.one_of(checked.text(wanted, "type", path), ("text", "json_object", "json_schema"), f"{path}.type")
    if kind != "json_schema":
        return OutputFormat(path) if kind == "json_object" else None
    return OutputFormat(
        path,
        schema=checked.optional_mapping(wanted, "schema", path) or None,
        name=checked.optional_text(wanted, "name", path) or "output",
        description=checked.optional_text(wanted, "description", path) or "",
        strict=None if wanted.get("strict") is None else checked.flag(wanted, "strict", path),
    )


def _thinking(body: Json, later: tuple[Json, str] | None) -> Thinking:
    """`later`: what an item of the input changed last, and its path."""
    reasoning = checked.optional_mapping(body, "reasoning", "")
    holder, path = later or (reasoning, "reasoning")
    shown = any(reasoning.get(name) is not None for name in ("summary", "generate_summary"))
    return Thinking(members.effort(holder, "effort", path), shown="yes" if shown else "hidden")


def _check_reasoning(body: Json, warnings: Warnings) -> None:
    """Members of `reasoning` that only OpenAI's own models know. Raises Refused."""
    reasoning = checked.optional_mapping(body, "reasoning", "")
    warnings.unknown(reasoning, _REASONING, "reasoning")
    if reasoning.get("mode") == "pro":
        raise unsupported("reasoning.mode", "this model has no such mode")
    for name in ("context", "mode"):
        if reasoning.get(name) is not None:
            warnings.add("dropped", f"reasoning.{name}")


def _logprobs(body: Json) -> Setting[int] | None:
    top = members.integer(body, "top_logprobs")
    if top is not None and top.value:
        return top
    return Setting(0, "include") if _LOGPROBS in checked.optional_sequence(body, "include", "") else None


def _echo(body: Json) -> dict[str, bytes]:
    """Members of the request that the answer repeats, as JSON: they may be large, and nobody reads them here."""
    sent = {name: value for name, value in body.items() if value is not None}
    echo = {name: sent.get(name, otherwise) for name, otherwise in _ECHOED.items()}
    echo |= {name: sent[name] for name in _ECHOED_IF_SENT if name in sent}
    return {name: msgspec.json.encode(value) for name, value in echo.items()}
