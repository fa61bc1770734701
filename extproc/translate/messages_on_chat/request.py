"""A Messages request as a Chat Completions request."""

import msgspec

from extproc.errors import Rejection
from extproc.translate import want
from extproc.translate.for_messages import choice, fields, system, tools, walk
from extproc.translate.for_messages.asked import Asked
from extproc.translate.for_messages.draft import Draft
from extproc.translate.for_messages.effort import show_thinking
from extproc.translate.for_messages.turns import AssistantTurn
from extproc.translate.messages_on_chat import effort, emit, structured
from extproc.translate.messages_on_chat.draft import ChatDraft
from extproc.translate.pair import Target
from extproc.translate.want import Json

PATH = "/chat/completions"


def translate(body: Json, to: Target) -> Asked | Rejection:
    """The request for the upstream, or why there is none. Never raises, whatever the body."""
    return want.attempt(lambda: _translated(ChatDraft(body, to)))


def _translated(draft: ChatDraft) -> Asked:
    prefill = compose(draft)
    return _asked(draft, msgspec.json.encode(draft.upstream), prefill)


def compose(draft: Draft) -> str:
    """Builds `draft.upstream`, in a fixed order of members; returns the prefill to cut from the answer."""
    model = want.text(draft.body, "model", "")
    upstream = draft.upstream
    upstream["model"] = draft.target.model or model
    upstream["messages"] = []
    fields.check(draft)
    turns = walk.turns(draft)
    messages = emit.messages(draft, turns)
    prefill = emit.prefill(draft, turns, messages)
    has_calls = any(isinstance(turn, AssistantTurn) and turn.calls for turn in turns)
    declared = choice.apply(draft, tools.declare(draft), has_calls=has_calls)
    sent = effort.apply(draft, with_tools=declared)
    fields.limit(draft, sent)
    head = emit.system(draft, system.parts(draft, structured.apply(draft)))
    upstream["messages"] = [head, *messages] if head else messages
    draft.keep_last_breakpoints()
    upstream.update(draft.profile.extra)
    return prefill


def _asked(draft: Draft, body: bytes, prefill: str) -> Asked:
    return Asked(
        path=PATH,
        body=body,
        stream=draft.body.get("stream") is True,
        model=draft.body["model"],
        warnings=draft.warnings.items,
        max_tokens=draft.upstream.get(draft.profile.max_tokens_field),
        profile=draft.profile,
        nonce=draft.target.nonce,
        original_names=draft.original_names,
        toolsets=draft.toolsets,
        stop_sequences=fields.stop_sequences(draft),
        show_thinking=show_thinking(draft),
        declares_tools="tools" in draft.upstream,
        prefill=prefill,
    )
