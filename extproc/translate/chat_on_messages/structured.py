"""An answer that must be JSON (mapping 4.5)."""

import msgspec

from extproc.translate import want
from extproc.translate.chat_on_messages import enforced, system
from extproc.translate.chat_on_messages.draft import Draft
from extproc.translate.pair import Json

PATH = "response_format"
_ANY_JSON = "Respond with a single valid JSON object and nothing else."
_BY_SCHEMA = "Respond with JSON that fulfils this JSON schema, and with nothing else:\n"


def apply(draft: Draft) -> None:
    """Writes output_config.format, or says it in the system prompt."""
    wanted = want.optional_mapping(draft.body, PATH, "")
    if not wanted:
        return
    kind = want.one_of(want.text(wanted, "type", PATH), ("text", "json_object", "json_schema"), f"{PATH}.type")
    if kind == "text":
        return
    schema: Json = {}
    if kind == "json_schema":
        holder = want.mapping(wanted, kind, PATH)
        schema = want.optional_mapping(holder, "schema", f"{PATH}.{kind}")
    if schema and draft.profile.structured_output == "json_schema" and enforced.can_be(schema, PATH):
        sent = {"type": "json_schema", "schema": enforced.transformed(schema, f"{PATH}.json_schema.schema")}
        draft.upstream.setdefault("output_config", {})["format"] = sent
        return
    draft.warnings.add("emulated", PATH, "the model cannot be held to this format")
    system.say(draft, _BY_SCHEMA + msgspec.json.encode(schema).decode() if schema else _ANY_JSON)
