"""A function's parameters with the root that Anthropic wants: an object, without alternatives."""

from extproc.translate import schema
from extproc.translate.pair import Json

_ALTERNATIVES = ("anyOf", "oneOf", "allOf")


def rooted(parameters: Json, path: str) -> tuple[Json, bool]:
    """The schema, and whether its meaning had to change. Raises Refused for one that joins too much."""
    if not parameters:
        return {"type": "object", "properties": {}}, False
    changed = any(key in parameters for key in _ALTERNATIVES)
    if changed:
        parameters = schema.united(parameters, path)
    kind = parameters.get("type")
    if kind == "object":
        return parameters, changed
    if kind is None or (isinstance(kind, list) and "object" in kind):
        return {**parameters, "type": "object"}, changed
    return {"type": "object", "properties": {}}, True
