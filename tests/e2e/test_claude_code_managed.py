"""The real Claude Code, from `/login` to what its company has settled for the person who signed in."""

import json
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.e2e import signing_in
from tests.e2e.claude_code import NEWEST, install
from tests.e2e.claude_login import Machine, needs_namespaces, sign_in
from tests.e2e.claude_runs import STREAM_JSON, call, script
from tests.e2e.signing_in import Browser, Idp
from tests.e2e.stack import ONE_WORKER, Model, Stack, free_port, up

EXPLANATION = "developers remove nothing with rm -rf"
CONFIG = """
sign_in:
  public_url: "http://localhost:PORT"
  issuer: "ISSUER"
  client_id: llm-gateway
  client_secret: {env: OIDC_SECRET}
authentication: {}
authorization: {}
providers:
  openai: {dialects: [chat], base_url: "${MODEL_URL}", api_key: {env: MODEL_KEY}}
models:
  - {name: qwen3-coder, provider: openai, model: gpt-4o-mini, context_window: 131072}
  - {name: secret, provider: openai, model: gpt-4o, allow: ['"security" in jwt.groups']}
managed_settings:
  - settings: {enforceAvailableModels: true}
  - when: '"developers" in jwt.groups'
    settings: {model: claude-qwen3-coder, env: {ANTHROPIC_DEFAULT_HAIKU_MODEL: claude-qwen3-coder}}
auto_mode:
  rules:
    - when: 'tool.name == "Bash" && tool.input.command.contains("rm -rf") && "developers" in jwt.groups'
      outcome: deny
      explanation: EXPLANATION
""".replace("EXPLANATION", EXPLANATION)


@pytest.fixture
def idp() -> Iterator[Idp]:
    with signing_in.idp() as running:
        running.user("alice")
        yield running


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory, idp: Idp, model: Model) -> Iterator[Stack]:
    port = free_port()
    config = CONFIG.replace("PORT", str(port)).replace("ISSUER", idp.url)
    environ = {"MODEL_URL": model.url, "OIDC_SECRET": "s3cr3t-of-oidc"}
    with up(
        tmp_path_factory.mktemp("managed"), environ=environ, config=config, port=port, arguments=ONE_WORKER
    ) as running:
        yield running


def test_from_login_to_settings_and_a_verdict(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> None:
    needs_namespaces()
    url = stack.url.replace("127.0.0.1", "localhost")
    machine = Machine(install()[NEWEST], tmp_path_factory.mktemp("machine"), url)
    with closing(Browser(url)) as browser, machine.session() as session:

        def approve(opened: str) -> None:
            [code] = parse_qs(urlsplit(opened).query)["user_code"]
            assert "signed in" in browser.sign_in(code).text

        sign_in(session, machine, approve)

    kept = machine.folder / "work" / "kept"
    kept.mkdir()
    prompt = script(call("Bash", command="rm -rf kept"), "demo: say done")
    done = machine.run("--permission-mode", "auto", *STREAM_JSON, "-p", prompt)
    assert done.returncode == 0, done.stderr
    assert EXPLANATION in done.stdout and kept.is_dir()
    managed = stack.record_where(lambda line: line["http.path"] == "/managed/settings")
    assert managed["http.status"] == 200
    line = stack.record_where(lambda line: bool(line["auto_mode.outcome"]))
    assert (line["auto_mode.outcome"], line["auto_mode.rule"]) == ("deny", "auto_mode.rules.0")
    # Nobody on this machine has named a model, and of the two there alice may use this one.
    assert (line["gen_ai.request.model"], line["jwt.sub"]) == ("claude-qwen3-coder", "alice")
    assert '"contextWindow":131072' in done.stdout
    other = json.loads(machine.run("--model", "claude-secret", "--output-format", "json", "-p", "demo: say hi").stdout)
    assert (other["result"], list(other["modelUsage"])) == ("hi", ["claude-qwen3-coder"])
