"""What a client sends, by name: `make canary` compares one version with the next."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.stack import Json

VARIABLE = "CLIENT_SHAPES"
"""A file that names are added to, one a line."""


def note(request: Json) -> None:
    """A request as it reached a provider unchanged."""
    if path := os.environ.get(VARIABLE):
        with Path(path).open("a", encoding="utf-8") as file:
            file.writelines(f"{name}\n" for name in names(request))


def names(request: Json) -> Iterator[str]:
    yield f"request {request['method']} {request['path']}"
    for name, value in request["headers"]:
        yield f"header {name}"
        if name == "anthropic-beta":
            yield from (f"beta {beta.strip()}" for beta in value.split(","))
    if request["body"].startswith("{"):
        yield from of_body(json.loads(request["body"]))


def of_body(body: Json) -> Iterator[str]:
    for name, value in body.items():
        yield f"member {name}"
        if isinstance(value, dict):
            yield from (f"member {name}.{below}" for below in value)
    for tool in body.get("tools", ()):
        yield f"tool {tool.get('name')} {tool.get('type', '')}".rstrip()
        yield from (f"member tools.{name}" for name in tool)
    for message in body.get("messages", ()):
        yield f"role {message['role']}"
        if isinstance(message["content"], list):
            yield from (f"block {block['type']}" for block in message["content"])
