"""A translated Chat request."""

from extproc.translate.on_messages import asked


class Asked(asked.Asked, frozen=True, kw_only=True, tag="chat"):
    legacy: bool = False
    """The client knows `function_call`, not `tool_calls`."""
    include_usage: bool = False
