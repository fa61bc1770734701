"""A dialect is one row: its name and its paths stand in wire/dialects.py, in its package, and hardly anywhere else."""

import ast
import dataclasses
import re
from collections.abc import Iterator

from extproc.translate.dialects.registry import Halves
from extproc.translate.translated import ClientSide, ProviderSide
from extproc.wire import dialects
from extproc.wire.dialects import DialectRow
from tests.imports import ROOT, sources

OWN = re.compile(r"extproc\.(wire\.dialects|translate\.(dialects|same_dialect)|demo|pb)(\.|$)")
"""A dialect's packages and the rows; the demo's servers, which share nothing with the product; generated code."""
ELSEWHERE = {
    "extproc.client.launch": "the developer's half asks the gateway for a model without importing anything of it",
    "extproc.config.init": "examples of providers that `extproc init` writes",
    "extproc.gateway.judge": "a member of the question, which goes through the gateway in its default dialect",
    "extproc.gateway.record": "`chat` is OpenTelemetry's name of an operation",
    "extproc.gateway.tracing": "a path of OpenTelemetry's",
    "extproc.policy.authorization.features": "`messages` is the name of a variable in rules",
    "extproc.providers.model_paths": "paths of vendors' other APIs, which pass through",
    "extproc.providers.profiles": "which shipped profile suits a model, and who counts its tokens",
    "extproc.providers.providers": "the segment of a version that base URLs end in or leave out",
    "extproc.supervisor.advice": "the same segment",
    "extproc.transport.metrics": "`chat` is OpenTelemetry's name of an operation",
    "extproc.config.endpoints": "paths where clients ask for their own usage",
    "extproc.config.schema_clouds": "which dialects a cloud speaks",
    "extproc.providers.clouds": "which dialects a cloud speaks, and under which paths",
    "extproc.wire.bedrock_api": "a cloud's API is the form of one dialect",
    "extproc.wire.cloud_apis": "a cloud's API is the form of one dialect, at paths of its own",
    "extproc.usage.calls": "`chat` is OpenTelemetry's name of an operation",
    "extproc.web.telemetry": "OpenTelemetry's paths",
    "extproc.web.topics": "OpenTelemetry's paths, and those of Anthropic's spend limits",
    "extproc.web.spend_limits": "paths of Anthropic's spend limits",
    "extproc.web.relay": "OpenTelemetry's paths",
    "extproc.web.console.playground": "lists models as every client asks for them",
    "extproc.web.context": "paths that Claude Code alone asks answer in its dialect",
    "extproc.translate.count": "names of members, and servers of two kinds that count for other dialects, too",
    "extproc.translate.conversation": "a default for the name of a member",
}


def literals(source: str) -> Iterator[str]:
    """Strings of a module, without those that only document it."""
    tree = ast.parse(source)
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield node.value


def is_a_dialects(text: str) -> bool:
    paths = [path for row in dialects.rows() for path in (row.path, row.provider_path)]
    return text in dialects.names() or text.startswith(("/v1/", *paths))


def test_names_and_paths_of_dialects_stand_in_one_place() -> None:
    found = {
        module
        for module, path in sources().items()
        if not OWN.match(module) and any(map(is_a_dialects, literals(path.read_text())))
    }
    assert found == ELSEWHERE.keys()


def test_the_search_finds_them() -> None:
    source = '"""chat"""\n\ndef f(x):\n    """chat"""\n    return f"/v1/{x}" if x == "chat" else {"messages": 1}'
    assert sorted(filter(is_a_dialects, literals(source))) == ["/v1/", "chat", "messages"]


def test_the_page_has_every_field() -> None:
    page = (ROOT / "docs" / "dialects.md").read_text()
    named = set(re.findall(r"`(\w+)`", page))
    fields = {
        field.name for kind in (DialectRow, Halves, ClientSide, ProviderSide) for field in dataclasses.fields(kind)
    }
    assert fields <= named | {"client", "provider"}
