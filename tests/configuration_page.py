"""The reference in docs/configuration.md, made from the JSON Schema of `gateway.yaml`."""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import yaml

from extproc.cli.json_schema import FILE, json_schema
from tests.manifests import ROOT

Json = dict[str, Any]
Section = tuple[str, str, Json]
"""Its name among the definitions, its heading, its schema."""

PAGE = ROOT / "docs" / "configuration.md"
SCHEMA = ROOT / FILE
BEGIN, END = "<!-- reference: generated -->", "<!-- end of reference -->"
_TITLES = {"Profile": "A profile with keys of its own", "ProfileName": "Names of profiles"}
_KINDS = {"string": "text", "integer": "whole number", "boolean": "true or false"}
_VARIABLE = r"\$\{"


def written(text: str) -> str:
    """Returns the page with the reference as it should be."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin and end, f"no place for the reference: {BEGIN} ... {END}"
    return before + begin + "\n\n" + "\n".join(Reference(json_schema()).lines()) + "\n" + end + after


class Reference:
    """One section for each mapping of the file, in the order of the file; what stands in several places comes last."""

    def __init__(self, schema: Json) -> None:
        self._top = schema
        self._definitions: Json = schema["$defs"]
        uses = Counter(name for node in [schema, *self._definitions.values()] for name in _references(node))
        self._shared = {name for name, count in uses.items() if count > 1}
        sections = [("", "The whole file", schema), *self._below("", schema)]
        for name in sorted(self._shared):
            node = self._definitions[name]
            sections += [(name, _TITLES.get(name, name), node), *self._below(f"<{name}>", node)]
        self._sections: list[Section] = sections
        self._headings = {name: title for name, title, _ in sections if name}

    def lines(self) -> Iterator[str]:
        for name, title, node in self._sections:
            yield f"### {title}\n"
            if text := node.get("description"):
                yield f"{text}\n"
            if "properties" in node:
                yield from self._table(node, without=self._keys_of_profiles() if name == "Profile" else ())
            else:
                yield self._kind(node)
            yield ""

    def _keys_of_profiles(self) -> Collection[str]:
        """They have a section of their own."""
        keys: Json = self._definitions["ProfileKeys"]["properties"]
        return keys

    def _below(self, path: str, node: Json) -> Iterator[Section]:
        """Yields the name, the heading and the schema of each section below a place, those of shared ones left out."""
        for key, one in node.get("properties", {}).items():
            place = f"{path}.{key}".lstrip(".")
            found = [(name, ending) for name, ending in _places(one) if name not in self._shared]
            for name, ending in found:
                inner = self._definitions[name]
                alone = len(found) == 1
                yield (
                    name,
                    f"`{place}{ending}`" + ("" if alone else f" with `{next(iter(inner['properties']))}`"),
                    inner,
                )
                yield from self._below(place + ending, inner)

    def _table(self, node: Json, without: Collection[str]) -> Iterator[str]:
        yield "| key | type | default | meaning |"
        yield "|---|---|---|---|"
        for key, one in node["properties"].items():
            if key not in without:
                default = "required" if key in node.get("required", ()) else _default(key, one)
                text = one.get("description") or self._described(one)
                meaning = re.sub(r"\(mapping ([\d.]+)\)", r"([mapping](mapping.md) \1)", text)
                cells = [f"`{key}`", self._kind(one), default, meaning]
                yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        if without:
            yield f"| [more](#{_anchor(self._headings['ProfileKeys'])}) | | | every key of a profile |"

    def _described(self, node: Json) -> str:
        """Returns the description of the one section that a value can be."""
        names = [name for name, _ in _places(node)]
        found: str = self._definitions[names[0]].get("description", "") if len(names) == 1 else ""
        return found

    def _kind(self, node: Json) -> str:
        if "$ref" in node:
            name = node["$ref"].rpartition("/")[2]
            title = self._headings[name]
            return f"[{title if name in self._shared else 'section'}](#{_anchor(title)})"
        if choices := node.get("anyOf") or node.get("oneOf"):
            kinds = [
                self._kind(one) for one in choices if one.get("type") != "null" and one.get("pattern") != _VARIABLE
            ]
            return " or ".join(dict.fromkeys(sorted(kinds, key=lambda kind: kind.startswith("list"))))
        if "enum" in node:
            values = [value for value in node["enum"] if value is not False or "off" not in node["enum"]]
            return ", ".join(f"`{value}`" for value in values)
        if node.get("type") == "array":
            return f"list of: {self._kind(node['items'])}" if node.get("items") else "list"
        if node.get("type") == "object":
            inner = node.get("additionalProperties")
            return f"mapping to: {self._kind(inner)}" if isinstance(inner, dict) else "mapping"
        kind = f"{_KINDS.get(node['type'], node['type'])}{_bounds(node)}"
        return f"{kind} of at most {node['maxLength']} characters" if "maxLength" in node else kind


def _bounds(node: Json) -> str:
    least, most = node.get("minimum"), node.get("maximum")
    if least is not None and most is not None:
        return f", {least:g} to {most}"
    above = f" above {node['exclusiveMinimum']:g}" if "exclusiveMinimum" in node else ""
    return above + (f" from {least}" if least is not None else "") + (f" up to {most:g}" if most is not None else "")


def _references(node: Any) -> Iterator[str]:
    """Yields the definition that each `$ref` names, those of `$defs` left out."""
    if isinstance(node, dict) and "$ref" in node:
        yield node["$ref"].rpartition("/")[2]
    inner = [one for key, one in node.items() if key != "$defs"] if isinstance(node, dict) else node
    for one in inner if isinstance(inner, list) else ():
        yield from _references(one)


def _places(node: Any, ending: str = "") -> Iterator[tuple[str, str]]:
    """Yields the sections that a value can be, with how its path goes on: `[]` in a list, `.<name>` in a mapping."""
    if "$ref" in node:
        yield node["$ref"].rpartition("/")[2], ending
    for choice in node.get("anyOf", node.get("oneOf", ())):
        yield from _places(choice, ending)
    for word, further in (("items", "[]"), ("additionalProperties", ".<name>")):
        if isinstance(node.get(word), dict):
            yield from _places(node[word], ending + further)


def _default(key: str, node: Json) -> str:
    value = node.get("default")
    if value is None or value in ("", [], {}):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(yaml.safe_dump(value, default_flow_style=True, width=1000)).removesuffix("\n").removesuffix("\n...")
    size = f" ({value // 2**20} MiB)" if isinstance(value, int) and "bytes" in key and value % 2**20 == 0 else ""
    return f"`{text}`{size}"


def _anchor(heading: str) -> str:
    """Returns the anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
