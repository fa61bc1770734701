"""Imports go down only. A new module or package of `extproc` gets its place in FLOORS."""

import ast
import re
from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.imports import graph, imported, sources, unit

# Top to bottom. What stands on one floor may import its neighbours, but never in a circle.
FLOORS: list[set[str]] = [
    {"__main__", "cli"},
    {"supervisor"},
    {"transport", "envoy", "web"},
    {"gateway"},
    {"policy", "translate", "sign_in"},
    {"providers", "store", "usage"},
    {"config"},
    {"wire", "events", "errors", "printable", "version", ""},
]
APART = {"client", "demo", "pb"}

_GRPC = r"grpc(\.|$)|grpc_health\."
_HTTP = r"(httpx|aiohttp|requests|urllib3)(\.|$)|urllib\.request$|http\.client$"

# What some may not import, who they are, and why.
BANS: list[tuple[str, Callable[[str], bool], str]] = [
    (_GRPC, lambda module: unit(module) not in {"transport", "pb"}, "only transport speaks gRPC"),
    (r"extproc\.pb(\.|$)", lambda module: unit(module) not in {"transport", "pb"}, "only transport knows protobuf"),
    (
        r"google\.protobuf",
        lambda module: unit(module) not in {"transport", "pb"} and module != "extproc.web.otlp",
        "only transport knows protobuf, and what reads OTLP",
    ),
    (
        r"extproc\.config(\.|$)|logging(\.|$)",
        lambda module: unit(module) in {"wire", "translate"},
        "wire and translate are pure",
    ),
    (
        _HTTP,
        lambda module: (
            module
            not in {
                "extproc.policy.keys.fetch",
                "extproc.supervisor.clouds.http",
                "extproc.supervisor.envoy_admin",
                "extproc.gateway.judge",
            }
            and unit(module) not in {"demo", "cli", "client", "web", "sign_in"}
        ),
        "only the fetchers of keys and credentials, the judge of tool calls, web and the commands speak HTTP outwards",
    ),
    (
        r"(starlette|uvicorn)(\.|$)|extproc\.web\.(?!topics$)",
        lambda module: unit(module) != "web" and module != "extproc.supervisor.monitor",
        "a web framework is for the web process and the supervisor's pages",
    ),
    (
        r"genai_prices(\.|$)",
        lambda module: module != "extproc.providers.prices",
        "loaded when a price is needed, and what it could fetch is nobody's business",
    ),
    (
        r"(sqlalchemy|psycopg)(\.|$)|extproc\.usage\.(ledger|reading)$",
        lambda module: (
            unit(module) not in {"usage", "cli"}
            and module != "extproc.supervisor.usage"
            and not module.startswith("extproc.web.console.")
        ),
        "off unless configured, and an extra",
    ),
    (r"redis(\.|$)", lambda module: unit(module) != "store", "only the store knows Redis"),
    (
        r"opentelemetry(\.|$)",
        lambda module: module not in {"extproc.gateway.tracing", "extproc.web.otlp"},
        "off unless configured, and an extra",
    ),
    (
        r"prometheus_client(\.|$)",
        lambda module: (
            module not in {"extproc.transport.metrics", "extproc.supervisor.metrics", "extproc.supervisor.monitor"}
        ),
        "off unless configured",
    ),
    (r"extproc\.(?!demo(\.|$))", lambda module: unit(module) == "demo", "the demo shares nothing with what it shows"),
    (
        r"extproc\.(?!(client|printable|version)(\.|$))",
        lambda module: unit(module) == "client",
        "the developer's half installs without the gateway",
    ),
    (
        r"extproc\.client(\.|$)",
        lambda module: unit(module) not in {"cli", "client"},
        "only the commands know the developer's half",
    ),
    (r"extproc\.(?!pb(\.|$))", lambda module: unit(module) == "pb", "generated"),
]


def floor(module: str) -> int | None:
    return next((number for number, units in enumerate(FLOORS) if unit(module) in units), None)


def test_every_module_has_a_floor() -> None:
    homeless = {module for module in sources() if floor(module) is None and unit(module) not in APART}
    assert not homeless


def test_imports_go_down() -> None:
    wrong = [
        f"{module} imports {target}"
        for module, targets in graph().items()
        for target in sorted(targets)
        if target.startswith("extproc")
        if (above := floor(module)) is not None and (below := floor(target)) is not None and below < above
    ]
    assert not wrong


@pytest.mark.parametrize(("banned", "applies", "why"), BANS, ids=[f"{why} ({banned[:12]})" for banned, _, why in BANS])
def test_bans(banned: str, applies: Callable[[str], bool], why: str) -> None:
    wrong = [
        f"{module} imports {target}: {why}"
        for module, targets in graph().items()
        if applies(module)
        for target in sorted(targets)
        if re.match(banned, target)
    ]
    assert not wrong


def test_no_circles() -> None:
    inside = {module: {target for target in targets if target in sources()} for module, targets in graph().items()}
    try:
        TopologicalSorter(inside).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import a.b, c", ["a.b", "c"]),
        ("from extproc import pb", ["extproc.pb"]),
        ("from extproc.pb import HttpBody", ["extproc.pb"]),
        ("def f():\n    import late", ["late"]),
        ("if TYPE_CHECKING:\n    from a import b", ["a"]),
    ],
)
def test_every_form_of_import_is_seen(source: str, expected: list[str]) -> None:
    assert list(imported(source, {"extproc", "extproc.pb"})) == expected


def test_nothing_is_imported_by_name_at_run_time() -> None:
    """`importlib` would hide an import from the tests above."""
    users = [
        module
        for module, path in sources().items()
        if unit(module) != "pb"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in {"__import__", "importlib.import_module"}
    ]
    assert not users
