"""What the Chat dialect spells in its own way."""

from extproc.translate.for_messages.draft import Draft
from extproc.translate.want import Json


class ChatDraft(Draft):
    __slots__ = ()

    @property
    def limit_member(self) -> str:
        return self.profile.max_tokens_field

    def stream_members(self) -> Json:
        if not self.profile.stream_usage:
            return {}
        options = {"include_usage": True}
        if self.profile.stream_obfuscation_off:
            options["include_obfuscation"] = False
        return {"stream_options": options}

    @staticmethod
    def tool(function: Json) -> Json:
        return {"type": "function", "function": function}

    def choice(self, function: str) -> Json:
        return {"type": "function", "function": {"name": function}}
