"""An answer that must be JSON (mapping 4.5)."""

import msgspec

from extproc.translate import want
from extproc.translate.on_messages import enforced, system
from extproc.translate.on_messages.draft import Draft
from extproc.translate.pair import Json

_ANY_JSON = "Respond with a single valid JSON object and nothing else."
_BY_SCHEMA = "Respond with JSON that fulfils this JSON schema, and with nothing else:\n"


def apply(draft: Draft, wanted: Json, path: str, *, flat: bool) -> None:
    """Writes output_config.format, or says it in the system prompt. `flat`: the schema stands beside the type, as the
    Responses API has it, not in an object below it."""
    if not wanted:
        return
    kind = want.one_of(want.text(wanted, "type", path), ("text", "json_object", "json_schema"), f"{path}.type")
    if kind == "text":
        return
    schema, where = {}, path if flat else f"{path}.{kind}"
    if kind == "json_schema":
        schema = want.optional_mapping(wanted if flat else want.mapping(wanted, kind, path), "schema", where)
    if schema and draft.profile.structured_output == "json_schema" and enforced.can_be(schema, path):
        sent = {"type": "json_schema", "schema": enforced.transformed(schema, f"{where}.schema")}
        draft.upstream.setdefault("output_config", {})["format"] = sent
        return
    draft.warnings.add("emulated", path, "the model cannot be held to this format")
    system.say(draft, _BY_SCHEMA + msgspec.json.encode(schema).decode() if schema else _ANY_JSON)
