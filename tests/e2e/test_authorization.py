"""Rules for everyone, of routes and of models, decided before a real Envoy: who may ask what, and in which way."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from extproc.cli.main import main
from tests.e2e import wire
from tests.e2e.providers import Providers, chat, line_of
from tests.e2e.refusals import PROMPT, refused
from tests.e2e.stack import GATEWAY, ONE_WORKER, Json, Model, Stack, prompt, up

CONFIG = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
authorization:
  require: jwt.org == "acme"
  deny:
    - 'jwt.team == "marketing" && "bash" in llm.tools'
    - 'has(jwt.office) && source.address != jwt.office'
providers:
  anthropic: {dialects: [messages], base_url: "${ANTHROPIC_UPSTREAM_URL}", api_key: {env: ANTHROPIC_API_KEY}}
  openai: {dialects: [chat], base_url: "${OPENAI_UPSTREAM_URL}", api_key: {env: OPENAI_API_KEY}}
models:
  - {name: gpt-4o-mini, provider: openai, require: model in jwt.llms.openai}
  - {name: gpt-4o, provider: openai, require: model in jwt.llms.openai}
  - {name: claude-text, provider: anthropic, model: claude-sonnet-5, deny: llm.has_images}
  - {name: claude-whole, provider: anthropic, model: claude-sonnet-5, deny: ["llm.stream", "llm.max_tokens > 500"]}
  - {name: claude-free, provider: anthropic, model: claude-sonnet-5}
routes:
  - {path: /research, serve: messages, require: 'jwt.team == "research"'}
  - {path: /brief, serve: chat, deny: llm.messages > 1}
  - {path: "/v1/files*", serve: passthrough, provider: anthropic, allow: 'request.method == "GET"'}
  - path: /agents
    serve: messages
    require: 'llm.agent == "Explore" && llm.session == "s-1" && !llm.background'
    deny: [llm.has_pdf, llm.thinking, llm.estimated_tokens > 5000, llm.size > 500000]
records: {claims: [team]}
"""
ASKED: Json = {"messages": [{"role": "user", "content": f"demo: say {PROMPT}"}]}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGD4DwABBAEAX+XDSwAAAABJRU5ErkJggg=="
IMAGE: Json = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
IMAGE_URL: Json = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
NAMED = "model: this token may not use "


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory, providers: Providers) -> Iterator[Stack]:
    with up(
        tmp_path_factory.mktemp("ruled"), environ=providers.environ, config=CONFIG, arguments=ONE_WORKER
    ) as running:
        yield running


def ask(stack: Stack, model: str, token: str = "", path: str = "/v1/messages", **more: Any) -> httpx.Response:
    return stack.call({"model": model, "max_tokens": 100, **ASKED, **more}, token=token, path=path)


def with_image(image: Json) -> Json:
    return {"messages": [{"role": "user", "content": [image, {"type": "text", "text": "demo: say hi"}]}]}


def check(stack: Stack, answer: httpx.Response, message: str, error: str, reason: str = "ModelNotAllowed") -> None:
    said, record = refused(stack, answer, 403, "permission_error")
    assert (said, record["reason"], record["error"]) == (message, reason, error)
    assert record["jwt.sub"] == "developer@acme.example"


def check_chat(answer: httpx.Response, message: str, param: str | None) -> None:
    body = {"message": message, "type": "invalid_request_error", "param": param, "code": "insufficient_permissions"}
    assert (answer.status_code, answer.json()) == (403, {"error": body})


@pytest.mark.parametrize("model", ["gpt-4o-mini", "claude-text", "claude-whole", "claude-free"])
def test_what_one_is_entitled_to(ruled: Stack, model: str) -> None:
    """The lab's tokens carry `llms: {openai: [gpt-4o-mini]}`."""
    assert ask(ruled, model).status_code == 200
    assert chat(ruled, {"model": model, "max_tokens": 100, **ASKED}).status_code == 200


def test_a_model_one_is_not_entitled_to(ruled: Stack, providers: Providers) -> None:
    error = "model_not_allowed:models.1.require.0"
    with providers.asking():
        check(ruled, ask(ruled, "gpt-4o"), NAMED + "gpt-4o", error)
        answer = chat(ruled, {"model": "gpt-4o", **ASKED})
    check_chat(answer, NAMED + "gpt-4o", "model")
    record = line_of(ruled, answer)
    assert (record["reason"], record["error"], record["caller.team"]) == ("ModelNotAllowed", error, "data-platform")
    assert record["gen_ai.request.model"] == "gpt-4o"


@pytest.mark.parametrize("llms", ["none", {}, {"openai": "gpt-4o"}, {"openai": [["gpt-4o"]]}, None])
def test_a_claim_that_is_not_as_it_should_be(ruled: Stack, providers: Providers, llms: object) -> None:
    with providers.asking():
        answer = ask(ruled, "gpt-4o", ruled.token(claims={"llms": llms}))
    check(ruled, answer, NAMED + "gpt-4o", "model_not_allowed:models.1.require.0")


def test_models_are_listed_for_those_who_may_use_them(ruled: Stack) -> None:
    free = ["claude-text", "claude-whole", "claude-free"]
    for llms, own in ({"openai": ["gpt-4o"]}, ["gpt-4o"]), ({"openai": []}, []), ({}, []):
        token = ruled.token(claims={"llms": llms})
        for headers in ({"anthropic-version": "2023-06-01"}, {"anthropic-version": "", "user-agent": "OpenAI/Python"}):
            listed = ruled.call(method="GET", path="/v1/models", token=token, headers=headers)
            assert [entry["id"] for entry in listed.json()["data"]] == own + free
        for model in ("gpt-4o", "gpt-4o-mini"):
            one = ruled.call(method="GET", path=f"/v1/models/{model}", token=token)
            assert one.status_code == (200 if model in own else 404)
    nobody = ruled.call(method="GET", path="/research/v1/models")
    assert nobody.status_code == 403


def test_a_route_is_for_those_it_is_for(ruled: Stack, providers: Providers) -> None:
    error = "not_allowed:routes.0.require.0"
    for path in ("/research", "/research/v1/messages", "/research/v1/messages/", "/research/v1/chat/completions"):
        with providers.asking():
            answer = ask(ruled, "claude-free", path=path)
        assert answer.status_code == 403 and "this token may not use this route" in answer.text
        assert (ruled.record(answer)["reason"], ruled.record(answer)["error"]) == ("Authorization", error)
        assert ask(ruled, "claude-free", ruled.token(team="research"), path=path).status_code == 200


def test_a_route_is_refused_before_any_of_the_body_is_read(ruled: Stack) -> None:
    """All but the last byte of the body stays away, and the answer is there."""
    head = f"POST /research HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ruled.good_token}\r\n"
    head += "content-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
    with wire.connect(ruled.url) as connection:
        connection.sendall(head.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 403 ")


def test_a_route_with_a_rule_about_the_body(ruled: Stack, providers: Providers) -> None:
    body = {"model": "claude-free", **ASKED}
    assert chat(ruled, body, path="/brief").status_code == 200
    with providers.asking():
        answer = chat(ruled, body | {"messages": ASKED["messages"] * 2}, path="/brief")
    check_chat(answer, NAMED + "claude-free in this way", None)
    assert line_of(ruled, answer)["error"] == "not_allowed:routes.1.deny.0"


def test_a_route_that_passes_through(ruled: Stack, providers: Providers) -> None:
    assert ruled.call(method="GET", path="/v1/files").status_code != 403
    with providers.asking():
        answer = ruled.call(method="DELETE", path="/v1/files/file_1")
    check(ruled, answer, "this token may not use this route", "not_allowed:routes.2.allow", "Authorization")


def test_what_can_not_be_known_of_a_call_that_passes_through(ruled: Stack, providers: Providers) -> None:
    """The rule about tools needs the body for one team only."""
    with providers.asking():
        answer = ruled.call(method="GET", path="/v1/files", token=ruled.token(team="marketing"))
    said, record = refused(ruled, answer, 403, "permission_error")
    assert (said, record["error"]) == ("this token may not use this gateway", "not_allowed:authorization.deny.0")


BASH = [{"name": "bash", "input_schema": {"type": "object"}}]
ANTHROPICS_BASH = [{"type": "bash_20250124", "name": "bash"}]
CHATS_BASH = [{"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}]
OTHER = [{"name": "ls", "input_schema": {"type": "object"}}]


def test_tools(ruled: Stack, providers: Providers) -> None:
    marketing, error = ruled.token(team="marketing"), "not_allowed:authorization.deny.0"
    assert ask(ruled, "claude-free", marketing, tools=OTHER).status_code == 200
    assert ask(ruled, "claude-free", tools=BASH).status_code == 200
    with providers.asking():
        for tools in (BASH, ANTHROPICS_BASH, "bash"):
            answer = ask(ruled, "claude-free", marketing, tools=tools)
            check(ruled, answer, NAMED + "claude-free in this way", error, "Authorization")
        for more in ({"tools": CHATS_BASH}, {"functions": [CHATS_BASH[0]["function"]]}):
            answer = chat(ruled, {"model": "claude-free", **ASKED, **more}, token=marketing)
            check_chat(answer, NAMED + "claude-free in this way", None)
            assert line_of(ruled, answer)["error"] == error


def test_images(ruled: Stack, providers: Providers) -> None:
    assert ask(ruled, "claude-free", **with_image(IMAGE)).status_code == 200
    error, said = "model_not_allowed:models.2.deny.0", NAMED + "claude-text in this way"
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [IMAGE]}
    with providers.asking():
        for image in (IMAGE, result):
            check(ruled, ask(ruled, "claude-text", **with_image(image)), said, error)
        answer = chat(ruled, {"model": "claude-text", **with_image(IMAGE_URL)})
    check_chat(answer, said, None)
    assert line_of(ruled, answer)["error"] == error


def test_streams_and_limits(ruled: Stack, providers: Providers) -> None:
    said = NAMED + "claude-whole in this way"
    with providers.asking():
        answer = ask(ruled, "claude-whole", stream=True)
        check(ruled, answer, said, "model_not_allowed:models.3.deny.0")
        answer = ask(ruled, "claude-whole", max_tokens=501)
        check(ruled, answer, said, "model_not_allowed:models.3.deny.1")
        answer = chat(ruled, {"model": "claude-whole", "stream": True, **ASKED})
        check_chat(answer, said, None)
        answer = chat(ruled, {"model": "claude-whole", "max_completion_tokens": 501, **ASKED})
        check_chat(answer, said, None)
        # Without a limit the rule cannot be decided.
        check_chat(chat(ruled, {"model": "claude-whole", **ASKED}), said, None)
    # Counting writes nothing.
    counted = ruled.call({"model": "claude-whole", **ASKED}, path="/v1/messages/count_tokens")
    assert counted.status_code == 200


AGENT = {"x-claude-code-session-id": "s-1", "x-claude-code-agent-type": "Explore"}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
MANY: Json = {"messages": [*ASKED["messages"], {"role": "assistant", "content": "a"}] * 10_000 + ASKED["messages"]}
KNOWN: list[tuple[str, Json, Json, str]] = [
    ("nothing", {}, {}, ""),
    ("another agent", {"x-claude-code-agent-type": "Plan"}, {}, "require.0"),
    ("another session", {"x-claude-code-session-id": "s-2"}, {}, "require.0"),
    ("the background", {"x-claude-code-request-class": "auxiliary"}, {}, "require.0"),
    ("a PDF", {}, with_image(PDF), "deny.0"),
    ("thinking", {}, {"thinking": {"type": "adaptive"}}, "deny.1"),
    ("many tokens", {}, {"system": "x" * 20_000}, "deny.2"),
    ("a heavy body", {}, MANY, "deny.2"),
    ("a heavy body that thinks", {}, MANY | {"thinking": {"type": "adaptive"}}, "deny.1"),
]


@pytest.mark.parametrize(("headers", "more", "rule"), [row[1:] for row in KNOWN], ids=[row[0] for row in KNOWN])
def test_what_is_known_of_a_call(ruled: Stack, providers: Providers, headers: Json, more: Json, rule: str) -> None:
    body = {"model": "claude-free", "max_tokens": 100, **ASKED, **more}
    if not rule:
        assert ruled.call(body, path="/agents", headers=AGENT | headers).status_code == 200
        return
    with providers.asking():
        answer = ruled.call(body, path="/agents", headers=AGENT | headers)
    check(ruled, answer, NAMED + "claude-free in this way", f"not_allowed:routes.3.{rule}", "Authorization")


FORGED = [
    "x-forwarded-for: {office}",
    "x-forwarded-for: {office}, {office}",
    "x-real-ip: {office}",
    "forwarded: for={office}",
    "x-envoy-external-address: {office}",
    "x-envoy-downstream-remote-address: {office}",
    "source.address: {office}",
]


@pytest.mark.parametrize("office", ["127.0.0.1", "127.0.0.2"])
def test_where_a_call_comes_from(ruled: Stack, office: str) -> None:
    """Whatever its headers say, it comes from 127.0.0.1."""
    token = ruled.token(claims={"office": office})
    body = json.dumps({**prompt("demo: say hi"), "model": "claude-free"}).encode()
    for field in ("accept: */*", *FORGED):
        for claimed in ("127.0.0.1", "127.0.0.2"):
            fields = (f"authorization: Bearer {token}", field.format(office=claimed))
            answer = wire.send(ruled.url, *fields, body=body)
            assert answer.status_code == (200 if office == "127.0.0.1" else 403), field
            error = None if office == "127.0.0.1" else "not_allowed:authorization.deny.1"
            assert ruled.record(answer)["error"] == error


def test_check_says_what_the_gateway_says(
    ruled: Stack, providers: Providers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ruled.folder)
    for name, value in providers.environ.items():
        monkeypatch.setenv(name, value)
    for team, llms in (("data-platform", ["gpt-4o"]), ("research", []), ("marketing", ["gpt-4o-mini"])):
        token = ruled.token(team=team, claims={"llms": {"openai": llms}})
        (ruled.folder / "token").write_text(token)
        for path, model in (("/v1/messages", "gpt-4o"), ("/research", "claude-free"), ("/brief", "gpt-4o-mini")):
            answer = ask(ruled, model, token, path)
            status = main(["check", "--token", "@token", "--model", model, "--path", path, "--source", "127.0.0.1"])
            said = capsys.readouterr()
            assert (status, said.err) == (0 if answer.status_code == 200 else 1, "")
            error, verdict = ruled.record(answer)["error"], said.out.splitlines()[-1]
            assert verdict == "allowed" if error is None else verdict.endswith(f", {error})"), said.out
            assert token not in said.out


def test_claims_of_any_name_and_kind_are_logged(tmp_path: Path, model: Model) -> None:
    named = {"https://acme.example/team": "blue", "groups": ["a", "b"], "%REQ(AUTHORIZATION)%": "x"}
    config = GATEWAY.replace("claims: [org, team]", f"claims: {json.dumps(list(named))}")
    with up(tmp_path, environ={"MODEL_URL": model.url}, config=config, arguments=ONE_WORKER) as stack:
        answer = stack.call(prompt("demo: say hi"), token=stack.token(claims=named))
        assert answer.status_code == 200
        record = stack.record(answer)
    assert {name: record[f"caller.{name}"] for name in named} == {**named, "groups": '["a","b"]'}
