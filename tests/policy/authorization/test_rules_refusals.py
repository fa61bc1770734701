"""When which rules are asked, and what a refusal says."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from extproc.config.endpoints import Endpoint, Operation
from extproc.config.faults import Fault
from extproc.errors import Reason
from extproc.policy.authorization.rules import Authorize, AuthorizeModel, Rules
from extproc.policy.facts import Admitted, Caller
from extproc.providers.catalogue import Catalogue
from extproc.providers.loading import load_catalogue
from tests.settings import AUTHENTICATION, PROVIDERS, source
from tests.stages import admitted, examined

CLAIMS: dict[str, Any] = {"yes": True, "no": False, "llms": {"openai": ["entitled", "open"]}}
CONFIG = f"""{AUTHENTICATION}
{PROVIDERS}
authorization:
  allow: jwt.yes
  deny: ['model == "banned"', '"bash" in llm.tools && jwt.no', 'provider != "openai"']
models:
  - {{name: open, provider: openai}}
  - {{name: banned, provider: openai}}
  - {{name: own, provider: openai, allow: "jwt.no"}}
  - {{name: either, provider: openai, allow: ["jwt.absent", "upstream_model == 'either'"]}}
  - {{name: entitled, provider: openai, require: model in jwt.llms.openai}}
  - {{name: not-entitled, provider: openai, require: model in jwt.llms.openai}}
  - {{name: plain, provider: openai, deny: [llm.stream, llm.has_images]}}
  - {{name: only-there, provider: openai, deny: 'request.path != "/there"'}}
routes:
  - {{path: /team, serve: messages, require: jwt.no}}
  - {{path: /short, serve: messages, require: [jwt.yes, llm.messages < 2]}}
"""
FREE = CONFIG.partition("  deny:")[0] + "models:" + CONFIG.partition("models:")[2]


def made(folder: Path, text: str = CONFIG) -> tuple[Rules, Catalogue]:
    read = source(folder, text)
    catalogue, _, _ = load_catalogue(read, {"OPENAI_API_KEY": "k"})
    faults: list[Fault] = []
    rules = Rules(read, catalogue, faults)
    assert not faults
    return rules, catalogue


def call(operation: Operation = Operation.GENERATE, route: int | None = None, **claims: Any) -> Admitted:
    endpoint = Endpoint("e", operation, "messages", "POST", route=route)
    return admitted(Caller(CLAIMS | claims), path="/x", endpoint=endpoint)


@pytest.mark.parametrize(("yes", "operation", "ok"), [
    (True, Operation.GENERATE, True),
    (False, Operation.GENERATE, False),
    (False, Operation.LIST_MODELS, False),
    (False, Operation.PASSTHROUGH, False),
    (True, Operation.PASSTHROUGH, True),
    (False, Operation.PROBE, True),
])  # fmt: skip
def test_at_the_headers(tmp_path: Path, yes: bool, operation: Operation, ok: bool) -> None:
    rejection = Authorize(made(tmp_path, FREE)[0])(call(operation, yes=yes))
    assert (rejection is None) is ok
    assert rejection is None or (rejection.http_status, rejection.reason) == (403, Reason.AUTHORIZATION)
    assert rejection is None or rejection.detail == "not_allowed:authorization.allow"


@pytest.mark.parametrize(
    ("route", "detail", "message"),
    [
        (None, None, None),
        (0, "not_allowed:routes.0.require.0", "this token may not use this route"),
        (1, None, None),
    ],
)
def test_a_route_at_the_headers(tmp_path: Path, route: int | None, detail: str | None, message: str | None) -> None:
    rejection = Authorize(made(tmp_path)[0])(call(route=route))
    assert (rejection and (rejection.detail, rejection.message)) == (detail and (detail, message))


@pytest.mark.parametrize(
    ("deny", "ok"),
    [
        ('model == "x"', False),
        ("llm.stream", False),
        ('jwt.no && model == "x"', True),
        ('request.path.startsWith("/v1/") && model == "x"', True),
        ('provider == "other"', True),
        ('provider == "openai"', False),
    ],
)
def test_what_no_one_will_ever_know_of_a_call_that_passes_through(tmp_path: Path, deny: str, ok: bool) -> None:
    rules, catalogue = made(tmp_path, FREE.replace("allow: jwt.yes", f"deny: {deny!r}"))
    asked = msgspec.structs.replace(call(Operation.PASSTHROUGH), provider=catalogue.rules[0].provider)
    assert (Authorize(rules)(asked) is None) is ok


NAMED = "model: this token may not use "


@pytest.mark.parametrize(
    ("model", "body", "detail", "message"),
    [
        ("open", {}, None, None),
        ("banned", {}, "model_not_allowed:authorization.deny.0", NAMED + "banned"),
        ("own", {}, "model_not_allowed:models.2.allow", NAMED + "own"),
        ("either", {}, None, None),
        ("entitled", {}, None, None),
        ("not-entitled", {}, "model_not_allowed:models.5.require.0", NAMED + "not-entitled"),
        ("plain", {}, None, None),
        ("plain", {"stream": True}, "model_not_allowed:models.6.deny.0", NAMED + "plain in this way"),
        ("plain", {"stream": "yes"}, "model_not_allowed:models.6.deny.0", NAMED + "plain in this way"),
        (
            "plain",
            {"messages": [{"content": [{"type": "image"}]}]},
            "model_not_allowed:models.6.deny.1",
            NAMED + "plain in this way",
        ),
        ("only-there", {}, "model_not_allowed:models.7.deny.0", NAMED + "only-there in this way"),
    ],
)
def test_at_the_body(tmp_path: Path, model: str, body: dict[str, Any], detail: str | None, message: str | None) -> None:
    rules, catalogue = made(tmp_path)
    rejection = AuthorizeModel(rules)(examined(call(), catalogue.resolve(model), {"messages": [], **body}))
    assert (rejection and (rejection.detail, rejection.message)) == (detail and (detail, message))
    if rejection:
        assert (rejection.http_status, rejection.reason) == (403, Reason.MODEL_NOT_ALLOWED)
        assert rejection.path == ("" if rejection.message.endswith("way") else "model")


def test_a_provider_is_what_the_models_name_leads_to(tmp_path: Path) -> None:
    rules, catalogue = made(tmp_path, CONFIG.replace('provider != "openai"', 'provider == "openai"'))
    rejection = AuthorizeModel(rules)(examined(call(), catalogue.resolve("open"), {}))
    assert rejection is not None
    assert (rejection.message, rejection.path) == (NAMED + "open", "model")
    assert rejection.detail == "model_not_allowed:authorization.deny.2"


@pytest.mark.parametrize(
    ("route", "no", "body", "detail"),
    [
        (None, True, {"tools": [{"name": "bash"}]}, "not_allowed:authorization.deny.1"),
        (None, False, {"tools": [{"name": "bash"}]}, None),
        (1, False, {"messages": [{}]}, None),
        (1, False, {"messages": [{}, {}]}, "not_allowed:routes.1.require.1"),
        (1, False, {"messages": None}, "not_allowed:routes.1.require.1"),
    ],
)
def test_rules_about_the_body_alone(
    tmp_path: Path, route: int | None, no: bool, body: dict[str, Any], detail: str | None
) -> None:
    rules, catalogue = made(tmp_path)
    asked = examined(call(route=route, no=no), catalogue.resolve("open"), {"messages": [], **body})
    rejection = AuthorizeModel(rules)(asked)
    assert (rejection and (rejection.detail, rejection.reason)) == (detail and (detail, Reason.AUTHORIZATION))


@pytest.mark.parametrize(
    ("route", "listed"),
    [
        (None, ["open", "either", "entitled", "plain"]),
        (0, []),
        (1, ["open", "either", "entitled", "plain"]),
    ],
)
def test_what_is_listed(tmp_path: Path, route: int | None, listed: list[str]) -> None:
    """Rules about the body are left out: what may be had by some requests is shown."""
    rules, catalogue = made(tmp_path)
    asked, step = call(Operation.LIST_MODELS, route), AuthorizeModel(rules)
    found = [model for name in catalogue.names() if (model := catalogue.resolve(name))]
    allowed = Authorize(rules)(asked) is None
    assert [model.name for model in found if allowed and step.permits(asked, model)] == listed
