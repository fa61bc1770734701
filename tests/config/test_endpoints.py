import pytest

from extproc.config.endpoints import Endpoint, Endpoints, Operation, dialect_of
from extproc.config.schema import Route
from extproc.events import Headers
from extproc.wire import Dialect

GENERATE, COUNT, LIST = Operation.GENERATE, Operation.COUNT_TOKENS, Operation.LIST_MODELS
PASS, PROBE = Operation.PASSTHROUGH, Operation.PROBE
BUILT_IN = Endpoints([])
PASSING = Route(path="*", serve="passthrough", provider="p")
OWN = [
    Route(path="/a", serve="messages", provider="p"),
    Route(path="/b/", serve="chat"),
    Route(path="/c", serve="responses", provider="q"),
    Route(path="/v1/files*", serve="passthrough", provider="q"),
    Route(path="/v1/files/mine", serve="passthrough", provider="r"),
    PASSING,
]


def kind(found: Endpoint | None) -> tuple[Operation, str | None, str | None] | None:
    return (found.operation, found.dialect, found.provider) if found else None


@pytest.mark.parametrize("base", ["", "/anthropic"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/messages", (GENERATE, "messages", None)),
        ("/v1/messages/", (GENERATE, "messages", None)),
        ("/v1/messages/count_tokens", (COUNT, "messages", None)),
        ("/v1/chat/completions", (GENERATE, "chat", None)),
        ("/v1/responses", (GENERATE, "responses", None)),
        ("/v1/responses/input_tokens", (COUNT, "responses", None)),
        ("/v1/responses/resp_1", None),
        ("/v1/models", (LIST, None, None)),
        ("/v1/models/a/b", (LIST, None, None)),
        ("/v1/modelsx", None),
        ("/v1/messages/batches", None),
        ("/v1/messagesx", None),
        ("/V1/messages", None),
        ("//v1/messages", None),
        ("/v1/messages?x", None),
    ],
)
def test_built_in(base: str, path: str, expected: tuple[Operation, str | None, str | None] | None) -> None:
    assert kind(BUILT_IN.find("POST", base + path)) == expected


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("HEAD", "/", PROBE),
        ("HEAD", "/api/hello", PROBE),
        ("GET", "/", None),
        ("GET", "/api/hello", None),
        ("HEAD", "/api/hello/", None),
        ("HEAD", "/v1/messages", GENERATE),
    ],
)
def test_probes_are_exactly_those(method: str, path: str, expected: Operation | None) -> None:
    found = BUILT_IN.find(method, path)
    assert (found.operation if found else None) is expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a", (GENERATE, "messages", "p")),
        ("/a/v1/messages", (GENERATE, "messages", "p")),
        ("/a/v1/chat/completions", (GENERATE, "chat", "p")),
        ("/a/v1/models/x", (LIST, None, None)),
        ("/a/v1/responses/", (GENERATE, "responses", "p")),
        ("/b", (GENERATE, "chat", None)),
        ("/c", (GENERATE, "responses", "q")),
        ("/c/v1/chat/completions", (GENERATE, "chat", "q")),
        ("/v1/files", (PASS, None, "q")),
        ("/v1/files/x", (PASS, None, "q")),
        ("/v1/files/mine", (PASS, None, "r")),
        ("/v1/models", (PASS, None, "p")),
        ("/v1/models/x", (PASS, None, "p")),
        ("/anything", (PASS, None, "p")),
        # What is translated and ruled by model is never passed by.
        ("/v1/messages", (GENERATE, "messages", None)),
        ("/v1/messages/", (GENERATE, "messages", None)),
        ("/v1/messages//", (GENERATE, "messages", None)),
        ("/a/", (GENERATE, "messages", "p")),
        ("/v1/chat/completions/", (GENERATE, "chat", None)),
        ("/v1/files/mine/", (PASS, None, "r")),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_routes_of_the_configuration(path: str, expected: tuple[Operation, str | None, str], turned: bool) -> None:
    """Their order does not matter: what says most about the path wins."""
    assert kind(Endpoints(OWN[::-1] if turned else OWN).find("POST", path)) == expected


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/a", 0),
        ("/a/v1/messages/count_tokens", 0),
        ("/a/v1/models/x", 0),
        ("/b/v1/chat/completions/", 1),
        ("/c/v1/responses", 2),
        ("/v1/files", 3),
        ("/v1/files/mine", 4),
        ("/v1/models", 5),
        ("/v1/models/x", 5),
        ("/anything", 5),
        ("/v1/messages", None),
        ("/anthropic/v1/models", None),
    ],
)
def test_whose_rules_hold(path: str, route: int | None) -> None:
    found = Endpoints(OWN).find("POST", path)
    assert found is not None and found.route == route


@pytest.mark.parametrize("path", ["/v1/models/x%3ay", "/v1/models/x%3Ay*", "/v1/models/x:y"])
def test_a_route_may_be_written_with_escapes(path: str) -> None:
    found = Endpoints([Route(path=path, serve="passthrough", provider="p")]).find("POST", "/v1/models/x:y")
    assert found is not None and found.route == 0


def test_a_route_may_stand_in_for_a_built_in_one() -> None:
    routes = Endpoints([Route(path="/v1/messages", serve="messages")])
    found = [routes.find("POST", path) for path in ("/v1/messages", "/v1/messages/", "/v1/messages/count_tokens")]
    assert [one and one.route for one in found] == [0, 0, None]


@pytest.mark.parametrize(
    ("path", "headers", "dialect"),
    [
        ("/v1/messages", {}, "messages"),
        ("/anthropic/x", {"user-agent": "OpenAI/Python"}, "messages"),
        ("/v1/chat/completions", {}, "chat"),
        ("/v1/responses", {}, "responses"),
        ("/v1/responses/resp_1", {"anthropic-version": "1"}, "responses"),
        ("/anthropic/v1/responses/resp_1", {}, "responses"),
        ("/v1/models", {"anthropic-version": "1"}, "messages"),
        ("/v1/models", {"x-api-key": "k"}, "messages"),
        ("/v1/models", {"x-api-key": "k", "authorization": "Bearer k"}, "chat"),
        ("/v1/models", {}, "chat"),
        ("/x", {}, "messages"),
        ("/x", {"user-agent": "OpenAI/Python 1.0"}, "chat"),
        ("/x", {"openai-organization": "o"}, "chat"),
        ("/x", {"openai-organization": "o", "anthropic-version": "1"}, "messages"),
    ],
)
def test_the_dialect_of_a_caller(path: str, headers: dict[str, str], dialect: Dialect) -> None:
    assert dialect_of(path, Headers(headers.items())) == dialect


CLAUDE = "/projects/p/locations/l/publishers/anthropic/models"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/bedrock/model/m/invoke", ("bedrock", GENERATE, "messages", "m")),
        ("/bedrock/model/m/invoke/", ("bedrock", GENERATE, "messages", "m")),
        ("/bedrock/inference-profiles", ("bedrock", LIST, "messages", "")),
        (f"/vertex/v1{CLAUDE}/m:streamRawPredict", ("vertex", GENERATE, "messages", "m")),
        (f"/vertex{CLAUDE}/count-tokens:rawPredict", ("vertex", COUNT, "messages", "")),
        ("/openai/deployments/m/chat/completions", ("azure-openai", GENERATE, "chat", "m")),
        ("/openai/v1/responses", ("azure-openai", GENERATE, "responses", "")),
        ("/bedrock/model/m/converse", None),
        ("/bedrock", None),
        ("/Bedrock/model/m/invoke", None),
        ("/bedrockx/model/m/invoke", None),
        ("/model/m/invoke", None),
    ],
)
def test_the_apis_of_clouds(path: str, expected: tuple[str, Operation, str, str] | None) -> None:
    found = BUILT_IN.find("POST", path)
    assert (found and found.cloud and (found.name, found.operation, found.dialect, found.cloud.model)) == expected


def test_lists_of_clouds_are_read_and_models_are_asked() -> None:
    methods = {path: BUILT_IN.find("POST", f"/bedrock/{path}") for path in ("model/m/invoke", "inference-profiles")}
    assert [found and found.method for found in methods.values()] == ["POST", "GET"]


@pytest.mark.parametrize(
    ("path", "cloud", "route"),
    [
        ("/aws/model/m/invoke", "bedrock", 0),
        ("/bedrock/model/m/invoke", "passthrough", 1),
        (f"/vertex{CLAUDE}/m:rawPredict", "vertex", None),
        (f"/vertex/files{CLAUDE}/m:rawPredict", "passthrough", 2),
        ("/openai/deployments/m/chat/completions", "azure-openai", 3),
        ("/bedrock-runtime", "passthrough", 4),
    ],
)
def test_routes_beside_the_apis_of_clouds(path: str, cloud: str, route: int | None) -> None:
    """A route that says more about the path wins; one for everything does not."""
    routes = [
        Route(path="/aws", serve="bedrock", provider="p"),
        Route(path="/bedrock/*", serve="passthrough", provider="p"),
        Route(path="/vertex/files*", serve="passthrough", provider="p"),
        Route(path="/openai", serve="azure-openai"),
        PASSING,
    ]
    found = Endpoints(routes).find("POST", path)
    assert found is not None and (found.name, found.route) == (cloud, route)
