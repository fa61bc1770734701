"""A Responses request as a Messages request: the order in which its parts are read and written (mapping 6.5)."""

from collections.abc import Sequence

import msgspec

from extproc.errors import Rejection
from extproc.translate import want
from extproc.translate.on_messages import cache, effort, ending, limits, passed, structured, system
from extproc.translate.pair import Json, Target
from extproc.translate.responses_on_messages import choice, fields, tools, walk
from extproc.translate.responses_on_messages.asked import Asked
from extproc.translate.responses_on_messages.draft import Draft

PATH = "/v1/messages"
_ECHOED: Json = {
    "instructions": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "temperature": None,
    "top_p": None,
    "tool_choice": "auto",
    "tools": [],
}
_ECHOED_IF_THERE = ("reasoning", "text")


def translate(body: Json, to: Target) -> Asked | Rejection:
    """The request for the upstream, or why there is none. Never raises, whatever the body."""
    return want.attempt(lambda: _translated(Draft(body, to), PATH))


def count(body: Json, to: Target, members: Sequence[str]) -> Asked | Rejection:
    """A request that counts the tokens of the same; `members`: what can be counted."""
    return want.attempt(lambda: _translated(Draft(body, to), f"{PATH}/count_tokens", members))


def _translated(draft: Draft, path: str, members: Sequence[str] = ()) -> Asked:
    compose(draft)
    sent = {name: value for name, value in draft.upstream.items() if not members or name in members}
    return _asked(draft, path, msgspec.json.encode(sent))


def compose(draft: Draft) -> None:
    """Builds `draft.upstream`, in a fixed order of members."""
    upstream = draft.upstream
    upstream["model"] = draft.target.model or want.text(draft.body, "model", "")
    upstream["max_tokens"] = limits.max_tokens(draft, ("max_output_tokens",))
    fields.check(draft)
    _configure(draft)
    turns = ending.close(draft, walk.turns(draft), "input")
    declared = tools.declare(draft, turns)
    forced = choice.apply(draft, declared)
    effort.apply(draft, turns, _level(draft), forced=forced)
    structured.apply(draft, *draft.format, flat=True)
    passed.apply(draft)
    limits.sampling(draft)
    thinks = effort.thinks(draft)
    effort.bind(draft, turns, thinks=thinks)
    upstream["messages"] = [turn.message(thinks=thinks) for turn in turns]
    system.apply(draft)
    cache.keep_last(upstream)
    upstream.update(draft.profile.extra)


def _configure(draft: Draft) -> None:
    """What the input may change later on."""
    draft.reasoning = (want.optional_mapping(draft.body, "reasoning", ""), "reasoning")
    text = want.optional_mapping(draft.body, "text", "")
    draft.format = (want.optional_mapping(text, "format", "text"), "text.format")


def _level(draft: Draft) -> effort.Wanted:
    asked = want.optional_mapping(draft.body, "reasoning", "")
    shown = any(asked.get(name) is not None for name in ("summary", "generate_summary"))
    holder, path = draft.reasoning
    return effort.wanted(holder, "effort", path, shown=shown)


def _asked(draft: Draft, path: str, body: bytes) -> Asked:
    told = {name: value for name, value in draft.body.items() if value is not None}
    repeated = {name: told.get(name, otherwise) for name, otherwise in _ECHOED.items()}
    repeated |= {name: told[name] for name in _ECHOED_IF_THERE if name in told}
    return Asked(
        path=path,
        body=body,
        headers=passed.headers(draft),
        stream=draft.body.get("stream") is True,
        model=want.optional_text(draft.body, "model", "") or draft.upstream["model"],
        warnings=draft.warnings.items,
        max_tokens=draft.upstream["max_tokens"],
        profile=draft.profile,
        nonce=draft.target.nonce,
        now=draft.target.now,
        original_names=draft.original_names,
        custom=frozenset(draft.custom),
        echo={name: msgspec.json.encode(value) for name, value in repeated.items()},
        namespaces=draft.namespaces,
        shell=draft.shell,
    )
