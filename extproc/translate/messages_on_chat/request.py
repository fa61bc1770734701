"""A Messages request as a Chat Completions request."""

from extproc.errors import Rejection
from extproc.translate import want
from extproc.translate.for_messages import choice, fields, request, system, tools, walk
from extproc.translate.for_messages.asked import Asked
from extproc.translate.for_messages.draft import Draft
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
    return request.asked(draft, PATH, compose(draft))


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
