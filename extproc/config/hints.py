"""What a person probably meant, for messages about mistakes in the configuration. Each hint is empty where there is
nothing to say."""

import difflib
import re
from collections.abc import Collection
from typing import Any

_YAML = (
    ("alias", 'a value that begins with * needs quotes: "*"'),
    (r"'\t'", "lines are indented with blanks, not with tabs"),
    ("cannot start any token", "a value that begins with this character needs quotes"),
    ("mapping values are not allowed", "a value with a colon and a blank in it needs quotes"),
    (
        "<block end>, but found '<scalar>'",
        "a value that goes on behind its quotes needs quotes around all of it: '...'",
    ),
)
_QUOTED = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'")
_CEL = (
    (re.compile(r"(?<![=!<>])=(?!=)|==="), "equality is `==`"),
    (re.compile(r"(?<!&)&(?!&)|\band\b"), "and is `&&`"),
    (re.compile(r"(?<!\|)\|(?!\|)|\bor\b"), "or is `||`"),
    (re.compile(r"\bnot\b(?!\s*in\b)"), "not is `!`"),
    (re.compile(r"\bnot\s+in\b"), "not in is `!(x in y)`"),
    (re.compile(r"\b(contains|startsWith|endsWith|matches)\b(?!\s*\()"), 'these are called: `x.contains("y")`'),
)
_UNDECLARED = re.compile(r"undeclared reference to '([^']+)'")
_OTHERS_WORDS = {"True": "true", "False": "false", "None": "null", "len": "size", "str": "string"}
_METHODS = ("startsWith", "endsWith", "contains", "matches", "size", "exists", "all", "filter", "map")


def meant(name: str, known: Collection[str]) -> str:
    """`; did you mean 'models'?`"""
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def for_yaml(error: Any) -> str:
    """`error`: of PyYAML."""
    said = f"{getattr(error, 'context', None)} {getattr(error, 'problem', None)}"
    begun = getattr(error, "context_mark", None)
    if begun is not None and "quoted scalar" in said:
        return f"; the quote that begins in line {begun.line + 1} does not end"
    if begun is not None and "flow " in said:
        return f"; the bracket in line {begun.line + 1} is not closed"
    return next((f"; {hint}" for part, hint in _YAML if part in said), "")


def for_cel(text: str, problem: str, variables: Collection[str]) -> str:
    """`problem`: what the compiler says of `text`."""
    if match := _UNDECLARED.search(problem):
        return _for_name(match[1], variables)
    bare = _QUOTED.sub("", text)
    if re.search(r"[\"']", bare):
        return "; a text in quotes does not end"
    return next((f"; {hint}" for pattern, hint in _CEL if pattern.search(bare)), "")


def _for_name(name: str, variables: Collection[str]) -> str:
    if name in _OTHERS_WORDS:
        return f"; in CEL that is `{_OTHERS_WORDS[name]}`"
    close = difflib.get_close_matches(name, [*variables, *_METHODS], n=1, cutoff=0.75)
    if close:
        return f"; did you mean `{close[0]}`?"
    if not name.isidentifier():
        return ""
    return f"; a claim of the token is written `jwt.{name}`, and text stands in quotes"
