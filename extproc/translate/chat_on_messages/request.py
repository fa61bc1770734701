"""A Chat request as a Messages request: the order in which its parts are read and written (mapping 4)."""

import msgspec

from extproc.errors import Rejection
from extproc.translate import want
from extproc.translate.chat_on_messages import choice, fields, tools, walk
from extproc.translate.chat_on_messages.asked import Asked
from extproc.translate.on_messages import cache, effort, ending, limits, passed, structured, system
from extproc.translate.on_messages.draft import Draft
from extproc.translate.pair import Json, Target

PATH = "/v1/messages"


def translate(body: Json, to: Target) -> Asked | Rejection:
    """The request for the upstream, or why there is none. Never raises, whatever the body."""
    return want.attempt(lambda: _translated(Draft(body, to)))


def _translated(draft: Draft) -> Asked:
    compose(draft)
    return _asked(draft, msgspec.json.encode(draft.upstream))


def compose(draft: Draft) -> None:
    """Builds `draft.upstream`, in a fixed order of members."""
    upstream = draft.upstream
    upstream["model"] = draft.target.model or want.text(draft.body, "model", "")
    upstream["max_tokens"] = limits.max_tokens(draft, ("max_completion_tokens", "max_tokens"))
    fields.check(draft)
    turns = ending.close(draft, walk.turns(draft), "messages")
    declared = tools.declare(draft, turns)
    forced = choice.apply(draft, declared)
    level = effort.wanted(draft.body, "reasoning_effort", "", shown=True)
    effort.apply(draft, turns, level, forced=forced)
    wanted = want.optional_mapping(draft.body, "response_format", "")
    structured.apply(draft, wanted, "response_format", flat=False)
    passed.apply(draft)
    limits.stop(draft)
    limits.sampling(draft)
    thinks = effort.thinks(draft)
    effort.bind(draft, turns, thinks=thinks)
    upstream["messages"] = [turn.message(thinks=thinks) for turn in turns]
    system.apply(draft)
    cache.keep_last(upstream)
    upstream.update(draft.profile.extra)


def _asked(draft: Draft, body: bytes) -> Asked:
    options = want.optional_mapping(draft.body, "stream_options", "")
    return Asked(
        path=PATH,
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
        legacy=bool(draft.body.get("functions")) and not draft.body.get("tools"),
        include_usage=want.flag(options, "include_usage", "stream_options"),
    )
