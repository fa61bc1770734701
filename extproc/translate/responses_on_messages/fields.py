"""Top-level members of a Responses request that depend on no other: for each, one rule (mapping 6.5)."""

from extproc.translate import want
from extproc.translate.on_messages import draft, members
from extproc.translate.pair import Json
from extproc.translate.want import unsupported

_NO_STATE = "nothing is stored here; send the whole conversation as `input`"

DROPPED = frozenset((
    "access_programs", "background_options", "client_metadata", "image", "metadata", "prompt_cache_key",
    "prompt_cache_options", "prompt_cache_retention", "safety_identifier", "store", "stream_options", "user",
))  # fmt: skip
"""Neither content nor billing class depends on them (or `metadata.user_id` carries them)."""

ELSEWHERE = frozenset((
    "input", "instructions", "max_output_tokens", "model", "parallel_tool_calls", "stream", "temperature",
    "tool_choice", "tools", "top_k", "top_p",
))  # fmt: skip
"""Read by other modules."""

_TEXT = frozenset(("format", "verbosity"))
_REASONING = frozenset(("context", "effort", "generate_summary", "mode", "summary"))
_INCLUDED = "reasoning.encrypted_content"


def check(draft: draft.Draft) -> None:
    """Refuses, reports or writes."""
    members.check(draft, _RULES, _KNOWN)
    members.lose(draft, "max_tool_calls", ("max_tool_calls",), always=True)
    members.lose(draft, "top_logprobs", ("top_logprobs",))


def _background(draft: draft.Draft) -> None:
    if want.flag(draft.body, "background", ""):
        raise unsupported("background", "answers are given at once; nothing is stored here")


def _state(name: str) -> members.Rule:
    def rule(_: draft.Draft) -> None:
        raise unsupported(name, _NO_STATE)

    return rule


def _text(draft: draft.Draft) -> None:
    text = want.mapping(draft.body, "text", "")
    draft.warnings.unknown(text, _TEXT, "text")
    if text.get("verbosity") is not None:
        draft.warnings.add("dropped", "text.verbosity")


def _reasoning(draft: draft.Draft) -> None:
    reasoning = want.mapping(draft.body, "reasoning", "")
    draft.warnings.unknown(reasoning, _REASONING, "reasoning")
    if reasoning.get("mode") == "pro":
        raise unsupported("reasoning.mode", "this model has no such mode")
    for name in ("context", "mode"):
        if reasoning.get(name) is not None:
            draft.warnings.add("dropped", f"reasoning.{name}")


def _include(draft: draft.Draft) -> None:
    if any(word != _INCLUDED for word in want.sequence(draft.body, "include", "")):
        draft.warnings.add("dropped", "include")


def _truncation(draft: draft.Draft) -> None:
    if want.one_of(want.text(draft.body, "truncation", ""), ("auto", "disabled"), "truncation") == "auto":
        draft.warnings.add("dropped", "truncation")


def _context_management(draft: draft.Draft) -> None:
    found = want.sequence(draft.body, "context_management", "")
    edits = [_edit(want.item(item, f"context_management.{n}"), n) for n, item in enumerate(found)]
    if edits and draft.profile.compaction:
        draft.upstream["context_management"] = {"edits": edits}
    elif edits:
        draft.warnings.add("dropped", "context_management")


def _edit(item: Json, n: int) -> Json:
    path = f"context_management.{n}"
    want.one_of(want.text(item, "type", path), ("compaction",), f"{path}.type")
    if item.get("compact_threshold") is None:
        return {"type": "compact_20260112"}
    value = want.integer(item, "compact_threshold", path)
    return {"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": value}}


_RULES: members.Rules = {
    "background": _background,
    "context_management": _context_management,
    "conversation": _state("conversation"),
    "include": _include,
    "moderation": members.moderation,
    "previous_response_id": _state("previous_response_id"),
    "prompt": _state("prompt"),
    "reasoning": _reasoning,
    "service_tier": members.service_tier,
    "text": _text,
    "truncation": _truncation,
}
_KNOWN = DROPPED | ELSEWHERE | {"max_tool_calls", "top_logprobs"}
