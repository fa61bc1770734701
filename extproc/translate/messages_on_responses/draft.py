"""What the Responses dialect spells in its own way (mapping 6.1)."""

import msgspec

from extproc.translate import want
from extproc.translate.for_messages.draft import Draft, Hosted, Part
from extproc.translate.messages_on_responses import hosted, reasoning
from extproc.translate.pair import Target
from extproc.translate.want import Json

_COMPACT = frozenset(("type", "trigger"))


class ResponsesDraft(Draft):
    __slots__ = ("compaction",)

    file_urls = True
    least_tokens = 16

    def __init__(self, body: Json, target: Target, *, counting: bool = False) -> None:
        super().__init__(body, target, counting=counting)
        self.compaction: Json | None = None
        """The item that stands for everything before the first turn."""
        # The dialect has no such members, whatever a profile made for Chat says.
        efforts = (*self.profile.efforts, *self.profile.responses_efforts)
        self.profile = msgspec.structs.replace(self.profile, stop=False, top_k=False, efforts=efforts)

    @property
    def limit_member(self) -> str:
        return "max_output_tokens"

    def stream_members(self) -> Json:
        return {"stream_options": {"include_obfuscation": False}}

    @staticmethod
    def tool(function: Json) -> Json:
        """`strict` is always said: without it the upstream tries strict mode, and alters optional properties."""
        return {"type": "function", **function, "strict": function.get("strict", False)}

    def choice(self, function: str) -> Json:
        return {"type": "function", "name": function}

    def hosted(self, definition: Json, kind: str, path: str) -> Hosted | None:
        if kind.startswith("web_search_") and self.profile.web_search:
            return hosted.web_search(self, definition, path)
        if kind == "mcp_toolset" and self.profile.mcp:
            return hosted.mcp_toolset(self, definition, path)
        return None

    def carries_edit(self, edit: Json, path: str) -> bool:
        if not self.profile.compaction or edit.get("type") != "compact_20260112":
            return False
        self.warnings.unknown(edit, _COMPACT, path)
        trigger = want.optional_mapping(edit, "trigger", path)
        threshold = {"compact_threshold": want.integer(trigger, "value", f"{path}.trigger")} if trigger else {}
        self.upstream["context_management"] = [{"type": "compaction", **threshold}]
        return True

    def resumes(self, compaction: Json) -> bool:
        self.compaction = reasoning.compaction(compaction.get("encrypted_content"))
        return self.compaction is not None

    @property
    def reaches_mcp(self) -> bool:
        return self.profile.mcp

    def stays(self, part: Part) -> bool:
        return self.profile.tool_result_images == "inline"
