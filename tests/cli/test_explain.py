"""`extproc check --token T`: the gateway's own verdict, and every rule that had a part in it."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from extproc.cli import main
from tests.issuing import claims, token
from tests.settings import ENVIRON, GATEWAY, authenticating

CONFIG = f"""{GATEWAY.partition("models:")[0]}
authorization:
  allow: jwt.org == "acme"
  deny: ['source.address == "10.0.0.66"', "llm.stream && llm.max_tokens > 100"]
models:
  - {{name: free, provider: openai, model: gpt-4o-mini}}
  - {{name: gold, provider: openai, require: model in jwt.llms.openai}}
routes:
  - {{path: /team, serve: chat, require: 'jwt.team == "other"'}}
  - {{path: "/files*", serve: passthrough, provider: openai, allow: 'request.method == "GET"'}}
"""
SECRET = "a-very-secret-subject"


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EXTPROC_TOKEN", raising=False)
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)


def check(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str]]:
    status = main.main(["check", *words])
    out, err = capsys.readouterr()
    assert not err or status == 2
    return status, (out + err).splitlines()


def line(where: str) -> int:
    """Where it stands in CONFIG."""
    return next(number for number, text in enumerate(CONFIG.splitlines(), 1) if where in text)


def test_a_route_whose_paths_the_web_process_serves(capsys: pytest.CaptureFixture[str]) -> None:
    members = 'public_url: "https://x.example", issuer: "https://y.example", client_id: x, allow: ["true"]'
    sign_in = f"sign_in: {{{members}}}\ntelemetry: {{}}\n"
    more = '  - {path: /device, serve: chat}\n  - {path: "/v1/m*", serve: passthrough, provider: openai}\n'
    Path("gateway.yaml").write_text(CONFIG + more + sign_in)
    number = CONFIG.count("\n") + 1
    [device, metrics] = [line for line in check(capsys)[1] if "the gateway itself answers" in line]
    text = "gateway.yaml:{}: routes.{}.path: the gateway itself answers {}; this route never gets them"
    assert device == text.format(number, 2, "/device")
    assert metrics == text.format(number + 1, 3, "/v1/metrics")


def test_a_call_that_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    good = token(claims(llms={"openai": ["gold"]}))
    status, said = check(capsys, "--token", good, "--model", "gold", "--source", "10.0.0.7")
    assert (status, said[0], said[-1]) == (0, "POST /v1/messages", "allowed")
    assert said[1] == "caller   jwt ann"
    assert 'claim    llms: {"openai": ["gold"]}' in said and 'claim    org: "acme"' in said
    assert "model    gold: gold of openai" in said
    assert said[-5:-1] == [
        f'false    source.address == "10.0.0.66"   (authorization.deny.0, gateway.yaml:{line("deny:")})',
        f"false    llm.stream && llm.max_tokens > 100   (authorization.deny.1, gateway.yaml:{line('deny:')})",
        f'true     jwt.org == "acme"   (authorization.allow.0, gateway.yaml:{line("allow: jwt")})',
        f"true     model in jwt.llms.openai   (models.1.require.0, gateway.yaml:{line('gold')})",
    ]
    assert not any(good in text for text in said)


NAMED = "model: this token may not use "
KNOWN = ["--source", "10.0.0.7"]


@pytest.mark.parametrize(
    ("words", "claimed", "verdict"),
    [
        (["--model", "free"], {}, "allowed"),
        (
            ["--model", "free"],
            {"org": "other"},
            "403: this token may not use this gateway   (Authorization, not_allowed:authorization.allow)",
        ),
        (
            ["--model", "gold"],
            {},
            f"403: {NAMED}gold   (ModelNotAllowed, model_not_allowed:models.1.require.0)",
        ),
        (["--model", "none"], {}, "404: model: none   (ModelNotFound, unknown_model)"),
        (
            ["--model", "free", "--path", "/team"],
            {},
            "403: this token may not use this route   (Authorization, not_allowed:routes.0.require.0)",
        ),
        (["--model", "free", "--path", "/team/v1/messages"], {"team": "other"}, "allowed"),
        (
            ["--path", "GET /nothing"],
            {},
            "404: GET /nothing: there is no such endpoint   (InvalidRequest, unknown_path)",
        ),
        (["--model", "free", "--body", "stream.json"], {}, "allowed"),
        (
            ["--model", "free", "--body", "long.json"],
            {},
            f"403: {NAMED}free in this way   (Authorization, not_allowed:authorization.deny.1)",
        ),
    ],
)
def test_verdicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], claimed: dict[str, Any], verdict: str
) -> None:
    for name, limit in (("stream", 100), ("long", 101)):
        body = {"stream": True, "max_tokens": limit, "messages": [{"role": "user", "content": "q"}]}
        (tmp_path / f"{name}.json").write_text(json.dumps(body))
    status, said = check(capsys, "--token", token(claims(**claimed)), *words, *KNOWN)
    assert said[-1] == (verdict if verdict == "allowed" else f"refused  {verdict}")
    assert status == (0 if verdict == "allowed" else 1)


def test_a_rule_that_fails_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    _, said = check(capsys, "--token", token(claims()), "--model", "gold")
    assert said[said.index("         source.address is not known here") - 1].startswith("fails    source.address == ")
    assert '         NOT_FOUND: Key not found in map : "llms"' in said


def test_a_call_that_passes_through(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rest = CONFIG.replace(', "llm.stream && llm.max_tokens > 100"', "")
    (tmp_path / "gateway.yaml").write_text(rest)
    good = token(claims())
    assert check(capsys, "--token", good, "--path", "GET /files/1", *KNOWN)[1][-1] == "allowed"
    assert "routes.1.allow" in check(capsys, "--token", good, "--path", "/files/1", *KNOWN)[1][-1]
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    status, said = check(capsys, "--token", good, "--path", "GET /files/1", *KNOWN)
    assert status == 1 and any(text.startswith("         llm.") and "is not known here" in text for text in said)


def test_a_list_of_models(capsys: pytest.CaptureFixture[str]) -> None:
    status, said = check(capsys, "--token", token(claims()), "--path", "/v1/models", *KNOWN)
    assert (status, said[0], said[-2:]) == (0, "GET /v1/models", ["allowed", "         free"])
    assert "         left out of lists" in said
    both = token(claims(llms={"openai": ["gold"]}))
    assert check(capsys, "--token", both, "--path", "/v1/models", *KNOWN)[1][-1].strip() == "gold"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (token(claims(exp=1)), "token_expired"),
        (token(claims(aud="x")), "wrong_audience"),
        ("abc", "token_malformed"),
        (token(claims(sub=SECRET, iss="x")), "wrong_issuer"),
    ],
)
def test_a_bad_token(capsys: pytest.CaptureFixture[str], given: str, code: str) -> None:
    message = "credential expired" if code == "token_expired" else "invalid credential"
    status, said = check(capsys, "--token", given, "--model", "free")
    assert (status, said) == (
        1,
        [
            "POST /v1/messages",
            f"token    not accepted: {code}",
            f"refused  401: {message}   (JwtAuth, {code})",
        ],
    )


def test_nobody(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert check(capsys, "--model", "free")[1][-1].startswith("refused  401: missing credential")
    (tmp_path / "gateway.yaml").write_text(authenticating(mode="permissive") + CONFIG[CONFIG.index("\n") :])
    assert "caller   anonymous" in check(capsys, "--model", "free")[1]
    assert "caller   anonymous; the token is not accepted" in check(capsys, "--token", "abc")[1]


def test_where_a_token_comes_from(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = token(claims())
    (tmp_path / "token").write_text(good + "\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO(good + "\n"))
    monkeypatch.setenv("EXTPROC_TOKEN", good)
    for words in (["--token", "@token"], ["--token", "-"], ["--token", good], []):
        assert check(capsys, *words, "--model", "free", *KNOWN)[1][-1] == "allowed"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--token", "@nowhere"], "nowhere: No such file or directory"),
        (["--model", "free", "--body", "nowhere"], "nowhere: No such file or directory"),
        (["--model", "free", "--body", "gateway.yaml"], "gateway.yaml is not valid JSON: "),
        (["--model", "free", "--body", "list"], "list is not a JSON object"),
    ],
)
def test_what_cannot_be_read(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], says: str) -> None:
    (tmp_path / "list").write_text("[]")
    status, said = check(capsys, *words)
    assert status == 2 and len(said) == 1 and said[0].startswith(says)


def test_mistakes_come_first(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert check(capsys) == (0, ["gateway.yaml: no mistakes found"])
    assert check(capsys, "--source", "10.0.0.7")[1][-1].startswith("refused  401: missing credential")
    (tmp_path / "gateway.yaml").write_text(CONFIG.replace("jwt.org ==", "jwt.org ="))
    status, said = check(capsys, "--model", "free")
    assert status == 2 and said[0].startswith(f"gateway.yaml:{line('allow: jwt')}: authorization.allow.0: not a valid")


HERE = ("--source", "127.0.0.1", "--model", "free")


@pytest.mark.parametrize(
    "locations", [["x-api-key"], [{"header": "x-company-token"}], [{"cookie": "sess"}, "authorization"]]
)
def test_a_token_stands_where_the_gateway_looks_for_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, locations: list[Any]
) -> None:
    text = CONFIG.replace("authentication: {", f'authentication: {{"locations": {json.dumps(locations)}, ', 1)
    (tmp_path / "gateway.yaml").write_text(text)
    assert check(capsys, "--token", token(claims()), *HERE)[1][-1] == "allowed"


def test_headers_and_the_host_are_what_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rules = 'allow: jwt.org == "acme" && request.host == "ai.acme.example" && request.headers[\'x-app\'] == "cli"'
    (tmp_path / "gateway.yaml").write_text(CONFIG.replace('allow: jwt.org == "acme"', rules, 1))
    asked = ["--token", token(claims()), *HERE]
    assert check(capsys, *asked)[0] == 1
    assert check(capsys, *asked, "--header", "Host: ai.acme.example", "--header", "X-App:cli")[0] == 0
    assert check(capsys, *asked, "--header", "nothing")[0] == 2


def test_a_bodys_size_is_that_of_the_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(CONFIG.replace('"llm.stream &&', '"llm.bytes > 1000 || llm.stream &&', 1))
    (tmp_path / "body.json").write_text(json.dumps({"model": "free", "max_tokens": 1, "messages": []}) + " " * 1000)
    assert check(capsys, "--token", token(claims()), "--body", "body.json")[0] == 1


def test_the_variables_of_a_body_are_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "A" * 133_336}
    turns = [{"role": "user", "content": [{"type": "document", "source": source}, {"type": "text", "text": "q"}]}]
    sent = {"model": "free", "messages": turns, "thinking": {"type": "adaptive"}, "stream": True}
    (tmp_path / "body.json").write_text(json.dumps(sent))
    session, agent = "X-Claude-Code-Session-Id: s-1", "x-claude-code-agent-type: Explore"
    said = check(capsys, "--token", token(claims()), "--body", "body.json", "--header", session, "--header", agent)[1]
    size = len(json.dumps(sent))
    assert [text for text in said if text.startswith("body")] == [
        "body     llm.stream: true",
        "body     llm.max_tokens: not known",
        "body     llm.tools: []",
        "body     llm.has_images: false",
        "body     llm.has_pdf: true",
        "body     llm.thinking: true",
        "body     llm.messages: 1",
        f"body     llm.size: {size}",
        f"body     llm.bytes: {size}",
        f"body     llm.estimated_tokens: {-((133_336 - size) // 4) + 1501}",
        "body     llm.background: false",
        'body     llm.session: "s-1"',
        'body     llm.agent: "Explore"',
    ]
    assert not any(text.startswith("body") for text in check(capsys, "--token", token(claims()), *HERE)[1])


@pytest.mark.parametrize("path", ["//team", "/./team", "/t%65am", "/x/../team"])
def test_a_path_is_the_one_that_is_routed(capsys: pytest.CaptureFixture[str], path: str) -> None:
    status, said = check(capsys, "--token", token(claims()), "--model", "free", "--path", path)
    assert status == 1 and said[0] == "POST /team" and "route" in "".join(said)


def test_a_body_that_is_too_large_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(CONFIG + "max_body_bytes: 1024\n")
    (tmp_path / "body.json").write_text(json.dumps({"model": "free", "max_tokens": 1, "messages": []}) + " " * 1024)
    status, said = check(capsys, "--token", token(claims()), "--source", "127.0.0.1", "--body", "body.json")
    assert status == 1 and said[-1].startswith("refused  413: ")


@pytest.mark.parametrize("place", ["env", "file", "empty file"])
def test_a_decision_needs_no_provider_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    if place != "env":
        config = CONFIG.replace("{env: OPENAI_API_KEY}", "{file: keys/openai}")
        (tmp_path / "gateway.yaml").write_text(config)
        (tmp_path / "keys").mkdir()
    if place == "empty file":
        (tmp_path / "keys" / "openai").touch()
    status, said = check(capsys, "--token", token(), "--model", "free", *KNOWN)
    assert (status, said[-1]) == (0, "allowed")
    status, said = check(capsys)
    assert status == 2 and "providers.openai.api_key" in said[0]


def test_other_mistakes_are_told_all_the_same(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(
        CONFIG.replace("provider: openai, model", "provider: opnai, model") + "wat: 1"
    )
    status, said = check(capsys, "--token", token())
    assert status == 2
    assert [text.split(": ")[1] for text in said] == ["wat", "models.0.provider"]


@pytest.mark.parametrize(("tokens", "verdict"), [(50, "allowed"), (500, "refused  403: ")])
def test_a_heavy_body_is_judged_like_any_other(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tokens: int, verdict: str
) -> None:
    turns = [{"role": "user", "content": "q"}] * 20_000
    sent = {"model": "free", "max_tokens": tokens, "messages": turns, "stream": True}
    (tmp_path / "body.json").write_text(json.dumps(sent))
    status, said = check(capsys, "--token", token(claims()), "--source", "127.0.0.1", "--body", "body.json")
    assert status == (tokens > 100) and said[-1].startswith(verdict)
    assert any("llm.stream && llm.max_tokens > 100" in text for text in said)
