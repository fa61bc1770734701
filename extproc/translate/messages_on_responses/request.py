"""A Messages request as a Responses request (mapping 6.1, 6.2)."""

import msgspec

from extproc.errors import Rejection
from extproc.translate import want
from extproc.translate.for_messages import choice, fields, request, system, tools, walk
from extproc.translate.for_messages.asked import Asked
from extproc.translate.for_messages.turns import SEAM, AssistantTurn
from extproc.translate.messages_on_responses import effort, hosted, structured
from extproc.translate.messages_on_responses.draft import ResponsesDraft
from extproc.translate.messages_on_responses.items import items, prefill
from extproc.translate.pair import Target
from extproc.translate.want import Json

PATH = "/responses"
_ENCRYPTED = "reasoning.encrypted_content"


def translate(body: Json, to: Target) -> Asked | Rejection:
    """The request for the upstream, or why there is none. Never raises, whatever the body."""
    return want.attempt(lambda: _translated(ResponsesDraft(body, to)))


def _translated(draft: ResponsesDraft) -> Asked:
    return request.asked(draft, PATH, compose(draft))


def compose(draft: ResponsesDraft) -> str:
    """Builds `draft.upstream`, in a fixed order of members; returns the prefill to cut from the answer."""
    model = want.text(draft.body, "model", "")
    upstream = draft.upstream
    upstream["model"] = draft.target.model or model
    upstream["instructions"] = ""
    upstream["input"] = []
    fields.check(draft)
    turns = walk.turns(draft)
    draft.keep_last_breakpoints()
    upstream["input"] = items(draft, turns)
    echo = prefill(draft, turns, upstream["input"])
    has_calls = any(isinstance(turn, AssistantTurn) and turn.calls for turn in turns)
    _tools(draft, has_calls)
    fields.limit(draft, effort.apply(draft))
    upstream["instructions"] = SEAM.join(part["text"] for part in system.parts(draft, structured.apply(draft)))
    if not upstream["instructions"]:
        del upstream["instructions"]
    _stateless(draft)
    upstream.update(draft.profile.extra)
    return echo


def _tools(draft: ResponsesDraft, has_calls: bool) -> None:
    declared = tools.declare(draft)
    if draft.reaches_mcp:
        declared.functions.extend(msgspec.Raw(msgspec.json.encode(tool)) for tool in hosted.lone_servers(draft))
    choice.apply(draft, declared, has_calls=has_calls)


def _stateless(draft: ResponsesDraft) -> None:
    """Nothing may be kept upstream that a later request would have to name."""
    draft.upstream["store"] = False
    if draft.profile.include_encrypted:
        draft.upstream["include"] = [_ENCRYPTED]
