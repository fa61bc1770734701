"""An answer that must be JSON of a given schema, as the client asks for it (mapping 1.10)."""

from typing import NamedTuple

import msgspec

from extproc.translate import schema, want
from extproc.translate.for_messages.draft import Draft
from extproc.translate.want import Json

_ASK = "Answer with JSON that fulfils this JSON schema, and with nothing else:\n"


class Format(NamedTuple):
    """What the upstream is told in a member, and what in the system prompt where it has no such mode."""

    schema: Json | None
    """`name`, `schema` and `strict`; None: JSON of any form."""
    said: str = ""


def read(draft: Draft) -> Format | None:
    """None: any answer will do."""
    config = want.optional_mapping(draft.body, "output_config", "")
    holder, name, path = config, "format", "output_config.format"
    if config.get("format") is None:
        holder, name, path = draft.body, "output_format", "output_format"
    if holder.get(name) is None:
        return None
    wanted = want.mapping(holder, name, path.removesuffix(name).rstrip("."))
    want.one_of(want.text(wanted, "type", path), ("json_schema",), f"{path}.type")
    draft.warnings.unknown(wanted, frozenset(("type", "schema", "name")), path)
    asked = want.mapping(wanted, "schema", path)
    repaired = schema.repair(asked, f"{path}.schema", add_required=False)
    if draft.profile.structured_output != "json_schema":
        draft.warnings.add("emulated", path)
        return Format(None, _ASK + msgspec.json.encode(asked).decode())
    strict = not repaired.changed_meaning and schema.fits_strict(repaired.schema)
    if not strict:
        draft.warnings.add("approx", path, "the schema does not suit the upstream's strict mode")
    return Format({"name": "output", "schema": repaired.schema, "strict": strict})


def said(found: Format | None) -> tuple[str, ...]:
    """What the system prompt must say."""
    return (found.said,) if found and found.said else ()
