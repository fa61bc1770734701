"""The JSON Schema of `gateway.yaml`, by which editors complete and check it (`extproc schema`)."""

import ast
import functools
import inspect
import json
import textwrap
from typing import Any

import msgspec
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from extproc.config.schema import Config
from extproc.providers import profiles

Json = dict[str, Any]

FILE = "gateway.schema.json"
"""What the file is called in this repository, and beside a `gateway.yaml` that `extproc init` writes."""

# Text in which `loading` fills in variables; it can stand where a number or one of some words is expected.
_VARIABLE = {"type": "string", "pattern": r"\$\{"}
_NOTES = ("description", "default")
_DROPPED = ("title", "format")  # Python's names, and formats that are none of JSON Schema's
_NARROW = ("enum", "const", "pattern", "minLength", "maxLength")


@functools.cache
def text() -> str:
    """Returns the schema as a file."""
    return json.dumps(json_schema(), indent=1) + "\n"


def json_schema() -> Json:
    """Returns the schema, JSON Schema 2020-12. It accepts every file that `extproc check` finds no mistake in; of what
    `check` refuses it finds unknown keys, missing keys, and values of another type or out of bounds."""
    made = Config.model_json_schema(schema_generator=_Generator)
    definitions = made["$defs"]
    definitions["ProfileKeys"] = _profile_keys()
    definitions["ProfileName"] = {"description": "A profile that ships with the product.", **_profile_names()}
    definitions["Profile"] = _profile(definitions["ProfileKeys"])
    choices = [{"$ref": "#/$defs/ProfileName"}, {"$ref": "#/$defs/Profile"}, {"type": "null"}]
    for section in ("Provider", "Model"):
        definitions[section]["properties"]["profile"] |= {"anyOf": choices}
    translation = made["properties"]["translation"]
    made["properties"]["translation"] = {**_notes(translation), "$ref": "#/$defs/ProfileKeys"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gateway.yaml",
        "description": "The configuration of extproc.",
        **_cleaned({key: value for key, value in made.items() if key not in ("title", "description")}),
    }


class _Generator(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: Any) -> Json:
        """Adds the strings below the fields. Pydantic could read them, but in every process that loads the schema."""
        made: Json = super().model_schema(schema)
        for kind in schema["cls"].__mro__:
            if issubclass(kind, BaseModel) and kind is not BaseModel:
                for name, text in attribute_docstrings(kind).items():
                    made["properties"][name].setdefault("description", text)
        return made

    def function_before_schema(self, schema: Any) -> Json:
        """A list that may be written as its only item (`schema.Expressions`)."""
        inner: Json = super().function_before_schema(schema)
        return {"anyOf": [inner, inner["items"]]} if inner.get("type") == "array" and "items" in inner else inner


def _profile_keys() -> Json:
    made: Json = msgspec.json.schema(profiles.Profile)["$defs"]["Profile"]
    properties: Json = {name: one for name, one in made["properties"].items() if name != "name"}
    for name, text in attribute_docstrings(profiles.Profile).items():
        properties[name]["description"] = text
    structured = properties["structured_output"]
    structured["anyOf"] = [{"enum": structured.pop("enum")}, {"type": "boolean"}]
    return {
        "description": "The quirks of a provider's server or a model.",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _profile_names() -> Json:
    return {"type": "string", "enum": list(profiles.shipped())}


def _profile(keys: Json) -> Json:
    name = {"$ref": "#/$defs/ProfileName"}
    base = {**name, "description": "The profile whose other keys hold; absent: chosen by provider and model."}
    return {
        "description": "A profile with some keys changed.",
        "type": "object",
        "properties": {"base": base, "name": {**name, "description": "The same as `base`."}, **keys["properties"]},
        "additionalProperties": False,
    }


def attribute_docstrings(kind: type) -> dict[str, str]:
    """Returns the string below each attribute of a class, by the attribute's name."""
    [made] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(made, ast.ClassDef)
    return {
        one.target.id: " ".join(text.value.value.split())
        for one, text in zip(made.body, made.body[1:], strict=False)
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def _notes(node: Json) -> Json:
    return {key: value for key, value in node.items() if key in _NOTES}


def _cleaned(node: Any, *, names: bool = False) -> Any:
    """Returns the schema without Python's names, and with `${VARIABLE}` wherever text can stand for a value.
    `names`: the keys of `node` are names of members, not words of JSON Schema."""
    if isinstance(node, list):
        return [_cleaned(one) for one in node]
    if not isinstance(node, dict):
        return node
    if names:
        return {name: _cleaned(one) for name, one in node.items()}
    kept = {key: value for key, value in node.items() if key not in _DROPPED or not isinstance(value, str)}
    if isinstance(kept.get("default"), dict):
        del kept["default"]  # the section's own keys have theirs
    if isinstance(kept.get("description"), str):
        kept["description"] = " ".join(kept["description"].split())
    made = {key: _cleaned(value, names=key in ("properties", "$defs")) for key, value in kept.items()}
    if made.get("type") in ("integer", "number", "boolean") or any(key in made for key in _NARROW):
        inner = {key: value for key, value in made.items() if key not in _NOTES}
        made = {**_notes(made), "anyOf": [inner, _VARIABLE]}
    if "anyOf" in made:
        made["anyOf"] = _flat(made["anyOf"])
    return made


def _flat(choices: list[Json]) -> list[Json]:
    """Returns the choices, with those of a choice that is nothing but choices in its place, and none twice."""
    found: list[Json] = []
    for one in choices:
        found += [inner for inner in (one["anyOf"] if one.keys() == {"anyOf"} else [one]) if inner not in found]
    return found
