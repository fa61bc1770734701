"""An answer that must be JSON of a given schema."""

import msgspec

from extproc.translate import schema, want
from extproc.translate.messages_on_chat.draft import Draft

_ASK = "Answer with JSON that fulfils this JSON schema, and with nothing else:\n"


def apply(draft: Draft) -> tuple[str, ...]:
    """Writes response_format; returns what the system prompt must say where the upstream has no such mode."""
    config = want.optional_mapping(draft.body, "output_config", "")
    holder, name, path = config, "format", "output_config.format"
    if config.get("format") is None:
        holder, name, path = draft.body, "output_format", "output_format"
    if holder.get(name) is None:
        return ()
    wanted = want.mapping(holder, name, path.removesuffix(name).rstrip("."))
    want.one_of(want.text(wanted, "type", path), ("json_schema",), f"{path}.type")
    draft.warnings.unknown(wanted, frozenset(("type", "schema", "name")), path)
    asked = want.mapping(wanted, "schema", path)
    repaired = schema.repair(asked, f"{path}.schema", add_required=False)
    mode = draft.profile.structured_output
    if mode == "json_schema":
        strict = not repaired.changed_meaning and schema.fits_strict(repaired.schema)
        if not strict:
            draft.warnings.add("approx", path, "the schema does not suit the upstream's strict mode")
        sent = {"name": "output", "schema": repaired.schema, "strict": strict}
        draft.upstream["response_format"] = {"type": "json_schema", "json_schema": sent}
        return ()
    draft.warnings.add("emulated", path)
    if mode == "json_object":
        draft.upstream["response_format"] = {"type": "json_object"}
    return (_ASK + msgspec.json.encode(asked).decode(),)
