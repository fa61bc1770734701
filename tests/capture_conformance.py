"""Writes tests/data/cel-conformance.json: the CEL project's published conformance cases, as rules.

    pip download --no-deps --no-binary :all: cel-python==0.5.0
    python -m tests.capture_conformance cel_python-0.5.0.tar.gz

Cases come from https://github.com/google/cel-spec (Apache License 2.0), folder tests/simple/testdata, which the source
distribution of cel-python carries. Left out is what no rule can say: variables, protobuf messages, extensions.
"""

import json
import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).resolve().parent / "data" / "cel-conformance.json"
FILES = (
    "basic", "comparisons", "conversions", "fields", "fp_math", "integer_math", "lists", "logic", "macros", "parse",
    "plumbing", "string", "timestamps",
)  # fmt: skip
Message = dict[str, list[Any]]
"""Text format: each field has as many values as it was given."""

_TOKEN = re.compile(r"""\s*(?:\#[^\n]*\s*)*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[{}:,;<>\[\]]|[^\s{}:,;<>\[\]"'#]+)""")
_ESCAPE = re.compile(rb"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[xX][0-9a-fA-F]{1,2}|[0-7]{1,3}|.)")
_PLAIN = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_FOREIGN = re.compile(r"TestAllTypes|google\.|cel\.|NestedEnum|GlobalEnum|\?|optional")
_NEEDS = {"bindings", "type_env", "container", "check_only", "disable_check", "disable_macros"}


def parsed(text: str) -> Message:
    """https://protobuf.dev/reference/protobuf/textformat-spec, as far as the cases use it."""
    return _message(iter(_TOKEN.findall(text)))


def _message(tokens: Iterator[str]) -> Message:
    found: Message = {}
    for token in tokens:
        if token == "}":
            break
        if token in ",;":
            continue
        name = "".join(iter(tokens.__next__, "]")) if token == "[" else token
        start = next(tokens)
        start = next(tokens) if start == ":" else start
        found.setdefault(name, []).extend(_values(start, tokens))
    return found


def _values(start: str, tokens: Iterator[str]) -> list[Any]:
    if start == "{":
        return [_message(tokens)]
    if start == "[":
        return [value for token in iter(tokens.__next__, "]") if token != "," for value in _values(token, tokens)]
    return [_unquoted(start) if start[0] in "\"'" else start]


def _unquoted(token: str) -> str:
    """An escape by number is a byte of UTF-8, one by `u` a character."""
    return _ESCAPE.sub(_unescaped, token[1:-1].encode()).decode("utf-8", "surrogateescape")


def _unescaped(match: re.Match[bytes]) -> bytes:
    escape = match[1].decode()
    if escape[0] in "uU":
        return chr(int(escape[1:], 16)).encode()
    if escape[0] in "xX" or escape[0].isdigit():
        return bytes([int(escape.lstrip("xX"), 8 if escape[0].isdigit() else 16)])
    return _PLAIN.get(escape, escape).encode()


def literal(value: Message) -> str | None:
    """A value as an expression; None: there is none, or it would not equal itself."""
    [(kind, [content, *_])] = value.items()
    match kind:
        case "int64_value":
            return str(content)
        case "uint64_value":
            return f"{content}u"
        case "double_value":
            return f"double('{content}')" if "nan" not in content.lower() else None
        case "bool_value" | "null_value":
            return str(content).lower().replace("null_value", "null")
        case "string_value":
            return json.dumps(content, ensure_ascii=False)
        case "list_value":
            return _joined("[{}]", [literal(one) for one in content.get("values", ())])
        case "map_value":
            pairs = [(literal(one["key"][0]), literal(one["value"][0])) for one in content.get("entries", ())]
            return _joined("{{{}}}", [f"{key}: {one}" if key and one else None for key, one in pairs])
        case _:
            return None


def _joined(form: str, parts: list[str | None]) -> str | None:
    known = [part for part in parts if part is not None]
    return form.format(", ".join(known)) if len(known) == len(parts) else None


def rule(case: Message) -> tuple[str, bool | None] | None:
    """The case as a rule and its verdict; None: no rule can say it."""
    [expression] = case["expr"]
    if _NEEDS & case.keys() or _FOREIGN.search(expression):
        return None
    if "eval_error" in case:
        return f"({expression}) == ({expression})", None
    value = case.get("value", [{"bool_value": ["true"]}])[0]
    if "bool_value" in value:
        return expression, value["bool_value"] == ["true"]
    wanted = literal(value)
    return None if wanted is None else (f"({expression}) == {wanted}", True)


def capture(archive: Path) -> None:
    rows = {}
    with tarfile.open(archive) as source:
        members = {Path(member.name).name: member for member in source.getmembers()}
        for name in FILES:
            content = source.extractfile(members[f"{name}.textproto"])
            assert content
            for section in parsed(content.read().decode())["section"]:
                for case in section["test"]:
                    if found := rule(case):
                        rows["/".join((name, *section["name"], *case["name"]))] = found
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(row, ensure_ascii=False)}" for name, row in rows.items())
    RECORDED.write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    capture(Path(sys.argv[1]))
