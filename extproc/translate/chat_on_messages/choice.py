"""A Chat request's choice of a tool: what belongs to a type stands in an object below it (mapping 4.4)."""

from extproc.translate import want
from extproc.translate.on_messages import choice
from extproc.translate.on_messages.draft import Draft
from extproc.translate.on_messages.toolbox import Declared
from extproc.translate.pair import Json


class _Nested:
    kinds: tuple[str, ...] = ("function", "custom")

    def holder(self, choice: Json, kind: str, path: str) -> tuple[Json, str]:
        return want.mapping(choice, kind, path), f"{path}.{kind}"

    def name(self, tool: Json, path: str) -> tuple[str, str]:
        kind = want.text(tool, "type", path)
        nested = isinstance(tool.get(kind), dict)
        holder, where = (tool[kind], f"{path}.{kind}") if nested else (tool, path)
        return want.text(holder, "name", where), f"{where}.name"


def apply(draft: Draft, declared: Declared) -> bool:
    """Writes tool_choice; returns whether a tool is forced."""
    member = "tool_choice" if draft.body.get("tool_choice") is not None else "function_call"
    # Parallel calls were unknown when there were only functions.
    return choice.apply(draft, declared, _Nested(), member, single=bool(draft.body.get("functions")))
