"""The three cases of the first promise: nobody passes unchecked, and whoever passes gets an Anthropic answer."""

import pytest

from tests.e2e.stack import Model, Stack, prompt, text_of


def test_no_token_is_401(stack: Stack, model: Model) -> None:
    before = len(model.requests())
    answer = stack.call(prompt("hello"), token=None)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["type"] == "authentication_error"
    assert answer.json()["request_id"] == answer.headers["request-id"]
    assert len(model.requests()) == before
    assert stack.record(answer)["reason"] == "JwtAuth"


def test_the_wrong_team_is_403(stack: Stack, model: Model) -> None:
    before = len(model.requests())
    answer = stack.call(prompt("hello"), token=stack.token(team="marketing"))
    assert answer.status_code == 403
    assert answer.json()["error"]["type"] == "permission_error"
    assert answer.json()["request_id"] == answer.headers["request-id"]
    assert len(model.requests()) == before
    line = stack.record(answer)
    assert (line["reason"], line["caller.team"]) == ("Authorization", "marketing")


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_the_right_token_gets_a_message(stack: Stack, model: Model, header: str) -> None:
    token = stack.token()
    credential = {"authorization": f"Bearer {token}"} if header == "authorization" else {"x-api-key": token}
    answer = stack.call(prompt("demo: say bonjour"), token=None, headers=credential)
    message = answer.json()
    assert answer.status_code == 200, message
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", "claude-x")
    assert (text_of(message), message["stop_reason"]) == ("bonjour", "end_turn")
    assert message["usage"]["input_tokens"] > 0 and message["usage"]["output_tokens"] > 0
    assert model.last()["path"] == "/v1/chat/completions"
    line = stack.record(answer)
    assert line["reason"] is None and line["http.status"] == 200
    assert line["gen_ai.usage.input_tokens"] == message["usage"]["input_tokens"]
    assert line["gen_ai.usage.output_tokens"] == message["usage"]["output_tokens"]
    assert (line["gen_ai.request.model"], line["gen_ai.response.model"]) == ("claude-x", "gpt-4o-mini")
    assert (line["jwt.sub"], line["jwt.iss"]) == ("developer@acme.example", "claude-code-lab")
