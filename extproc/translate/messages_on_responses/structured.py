"""An answer that must be JSON of a given schema, as the Responses API asks for it."""

from extproc.translate.for_messages import structured
from extproc.translate.for_messages.draft import Draft


def apply(draft: Draft) -> tuple[str, ...]:
    """Writes text.format; returns what the system prompt must say where the upstream has no such mode."""
    wanted = structured.read(draft)
    if wanted and wanted.schema:
        draft.upstream["text"] = {"format": {"type": "json_schema", **wanted.schema}}
    elif wanted and draft.profile.structured_output == "json_object":
        draft.upstream["text"] = {"format": {"type": "json_object"}}
    return structured.said(wanted)
