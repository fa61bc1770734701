"""A Chat request's functions and custom tools (mapping 4.4)."""

from extproc.translate import want
from extproc.translate.on_messages.cache import mark
from extproc.translate.on_messages.draft import Draft
from extproc.translate.on_messages.toolbox import Declared, Toolbox
from extproc.translate.on_messages.turns import Turn
from extproc.translate.pair import Json

_TOOL = frozenset(("type", "function", "custom", "cache_control", "prompt_cache_breakpoint"))


def declare(draft: Draft, turns: list[Turn]) -> Declared:
    box = Toolbox(draft)
    server_side: list[Json] = draft.upstream.pop("tools", [])
    for n, item in enumerate(want.optional_sequence(draft.body, "tools", "")):
        path = f"tools.{n}"
        _tool(draft, box, want.item(item, path), path)
    for n, item in enumerate(want.optional_sequence(draft.body, "functions", "")):
        path = f"functions.{n}"
        box.add(box.function(want.item(item, path), path))
    box.tools += server_side
    return box.declare(turns)


def _tool(draft: Draft, box: Toolbox, tool: Json, path: str) -> None:
    filled = next((name for name in ("function", "custom") if isinstance(tool.get(name), dict)), "")
    kind = want.optional_text(tool, "type", path) or filled or want.text(tool, "type", path)
    if kind not in ("function", "custom"):
        box.lose(kind, path)
        return
    draft.warnings.unknown(tool, _TOOL, path)
    build = box.function if kind == "function" else box.custom
    box.add(mark(build(want.mapping(tool, kind, path), f"{path}.{kind}"), tool))
