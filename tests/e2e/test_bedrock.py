"""Claude on Amazon Bedrock through Envoy: signed calls, answers in AWS's frames, clients of every dialect."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anthropic
import openai
import pytest

from tests.e2e import clouds
from tests.e2e.clouds import EVENTS, MESSAGE, Answer, Cloud, Received, answered, chunk, exception, frames, refused, sse
from tests.e2e.stack import SECONDS, Json, Stack, prompt, text_of, up

ARN = "arn:aws:bedrock:eu-central-1:111122223333:application-inference-profile/abcdefgh"
MODEL = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
CONFIG = f"""
authentication:
  jwt:
    - {{issuer: claude-code-lab, audiences: [anthropic-api], jwks: {{file: keys/jwks.json}}}}
providers:
  bedrock:
    cloud: aws-bedrock
    region: eu-central-1
    dialects: [messages, chat]
    base_url: "${{CLOUD_URL}}"
    auth: {{aws: {{keys: {{access_key_id: {{env: KEY_ID}}, secret_access_key: {{env: SECRET_KEY}}}}}}}}
  mantle:
    cloud: aws-bedrock-mantle
    region: eu-central-1
    dialects: [messages]
    base_url: "${{CLOUD_URL}}/anthropic"
    auth: {{aws: {{keys: {{access_key_id: {{env: KEY_ID}}, secret_access_key: {{env: SECRET_KEY}}}}}}}}
  platform:
    cloud: aws-claude-platform
    region: eu-central-1
    workspace: wrkspc_01
    dialects: [messages]
    base_url: "${{CLOUD_URL}}"
    auth: {{aws: {{keys: {{access_key_id: {{env: KEY_ID}}, secret_access_key: {{env: SECRET_KEY}}}}}}}}
models:
  - {{name: claude-x, provider: bedrock, model: "{MODEL}"}}
  - {{name: claude-mantle, provider: mantle, model: anthropic.claude-opus-4-8}}
  - {{name: claude-platform, provider: platform, model: claude-opus-4-8}}
  - {{name: claude-profile, provider: bedrock, model: "{ARN}"}}
  - {{name: gpt-oss, provider: bedrock, model: openai.gpt-oss-120b-1:0, prefer: [chat], profile: {{dialect: chat}}}}
  - {{name: "*", provider: bedrock}}
"""
STREAM = frames(*map(chunk, EVENTS))
TEXT = "Grüezi from the cloud"


# By the beginning of the path, the service for which a call must be signed.
SERVICES = {
    "model": "bedrock",
    "openai": "bedrock",
    "anthropic": "bedrock-mantle",
    "v1": "aws-external-anthropic",
}


def verify(seen: Received, method: str) -> str | None:
    return clouds.signed("eu-central-1", SERVICES[seen.target.split("/")[1]])(seen, method)


@dataclass(frozen=True)
class Bedrock:
    stack: Stack
    cloud: Cloud

    def ask(self, *answers: Answer, **more: object) -> Json:
        self.cloud.answer(*answers)
        found: Json = self.stack.call(prompt("hi", **more)).json()
        return found


@pytest.fixture(scope="module")
def bedrock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bedrock]:
    folder: Path = tmp_path_factory.mktemp("bedrock")
    with Cloud(verify).serving() as cloud:
        keys = {"KEY_ID": clouds.KEYS.access_key, "SECRET_KEY": clouds.KEYS.secret_key, "CLOUD_URL": cloud.url}
        with up(folder, environ=keys, config=CONFIG) as stack:
            yield Bedrock(stack, cloud)


@pytest.fixture(scope="module")
def sdk(bedrock: Bedrock) -> Iterator[anthropic.Anthropic]:
    token = bedrock.stack.good_token
    with anthropic.Anthropic(base_url=bedrock.stack.url, auth_token=token, max_retries=0, timeout=SECONDS) as client:
        yield client


def test_a_call_is_signed_and_its_model_is_in_the_path(bedrock: Bedrock) -> None:
    answer = bedrock.ask(answered(MESSAGE), stop_sequences=["x"])
    assert answer == MESSAGE
    seen = bedrock.cloud.last
    assert seen.target == "/model/eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke"
    sent = prompt("hi", stop_sequences=["x"])
    assert seen.body == {**{k: v for k, v in sent.items() if k != "model"}, "anthropic_version": "bedrock-2023-05-31"}
    assert not {"anthropic-version", "anthropic-beta", "x-api-key"} & seen.headers.keys()


def test_a_stream_comes_as_server_sent_events(bedrock: Bedrock, sdk: anthropic.Anthropic) -> None:
    bedrock.cloud.answer(STREAM)
    with sdk.messages.stream(model="claude-x", max_tokens=9, messages=[{"role": "user", "content": "hi"}]) as stream:
        assert "".join(stream.text_stream) == TEXT
        message = stream.get_final_message()
    assert (message.stop_reason, message.usage.input_tokens, message.usage.output_tokens) == ("end_turn", 11, 5)
    assert bedrock.cloud.last.target.endswith("/invoke-with-response-stream")
    assert "stream" not in bedrock.cloud.last.body
    line = bedrock.stack.record_where(
        lambda line: line["gen_ai.response.finish_reasons"] == "end_turn" and bool(line["gen_ai.request.stream"])
    )
    assert (line["reason"], line["gen_ai.usage.input_tokens"], line["gen_ai.usage.output_tokens"]) == (None, 11, 5)


def test_the_messages_endpoint_of_bedrock(bedrock: Bedrock) -> None:
    bedrock.cloud.answer(sse(EVENTS))
    got = bedrock.stack.call(prompt("hi", model="claude-mantle", stream=True))
    assert got.text.count("event: ") == len(EVENTS)
    seen = bedrock.cloud.last
    assert (seen.target, seen.body["model"]) == ("/anthropic/v1/messages", "anthropic.claude-opus-4-8")
    assert seen.headers["anthropic-version"] == "2023-06-01"


def test_claude_platform_on_aws_is_told_its_workspace(bedrock: Bedrock) -> None:
    assert bedrock.ask(answered(MESSAGE), model="claude-platform") == MESSAGE
    seen = bedrock.cloud.last
    assert (seen.target, seen.headers["anthropic-workspace-id"]) == ("/v1/messages", "wrkspc_01")


def test_a_key_that_is_wrong_is_refused_here_too() -> None:
    """So the calls of this file are known to be signed well."""
    seen = Received("/model/m/invoke", {"authorization": "AWS4-HMAC-SHA256 Credential=x"}, b"{}")
    assert verify(seen, "POST") == "not signed"


def test_an_arn_with_a_slash_arrives_as_one_segment(bedrock: Bedrock) -> None:
    bedrock.ask(answered(MESSAGE), model="claude-profile")
    assert bedrock.cloud.last.path == f"/model/{ARN}/invoke"
    assert bedrock.cloud.last.target.count("/") == 3


def test_a_model_of_dots_is_none(bedrock: Bedrock) -> None:
    bedrock.cloud.answer(answered(MESSAGE))
    answer = bedrock.stack.call(prompt("hi", model=".."))
    assert (answer.status_code, bedrock.cloud.received) == (404, [])


def test_betas_go_by_an_allow_list(bedrock: Bedrock) -> None:
    bedrock.cloud.answer(answered(MESSAGE))
    betas = "claude-code-20250219,oauth-2025-04-20,advanced-tool-use-2025-11-20"
    answer = bedrock.stack.call(prompt("hi", service_tier="auto"), headers={"anthropic-beta": betas})
    assert bedrock.cloud.last.body["anthropic_beta"] == ["claude-code-20250219", "tool-search-tool-2025-10-19"]
    assert "service_tier" not in bedrock.cloud.last.body
    assert answer.headers["x-translation-warnings"] == "dropped:betas.oauth-2025-04-20,dropped:service_tier"


def test_clients_of_other_dialects(bedrock: Bedrock) -> None:
    client = openai.OpenAI(base_url=f"{bedrock.stack.url}/v1", api_key=bedrock.stack.good_token, max_retries=0)
    bedrock.cloud.answer(STREAM)
    whole = client.responses.create(model="claude-x", input="hi", stream=True)
    assert "".join(event.delta for event in whole if event.type == "response.output_text.delta") == TEXT
    bedrock.cloud.answer(answered(MESSAGE))
    assert client.responses.create(model="claude-x", input="hi").output_text == TEXT
    assert bedrock.cloud.last.body["anthropic_version"] == "bedrock-2023-05-31"


def test_openai_compatible_models_have_the_same_signature(bedrock: Bedrock) -> None:
    client = openai.OpenAI(base_url=f"{bedrock.stack.url}/v1", api_key=bedrock.stack.good_token, max_retries=0)
    bedrock.cloud.answer(answered(clouds.COMPLETION))
    answer = client.chat.completions.create(model="gpt-oss", messages=[{"role": "user", "content": "hi"}])
    assert answer.choices[0].message.content == "hi"
    assert bedrock.cloud.last.target == "/openai/v1/chat/completions"
    assert bedrock.cloud.last.body["model"] == "openai.gpt-oss-120b-1:0"


def test_tokens_are_counted_by_bedrock(bedrock: Bedrock) -> None:
    bedrock.cloud.answer(answered({"inputTokens": 42}))
    body = {"model": "claude-x", "messages": [{"role": "user", "content": "hi"}]}
    answer = bedrock.stack.call(body, path="/v1/messages/count_tokens")
    assert answer.json() == {"input_tokens": 42}
    assert bedrock.cloud.last.path == "/model/anthropic.claude-sonnet-4-5-20250929-v1:0/count-tokens"
    inner = base64.b64decode(bedrock.cloud.last.body["input"]["invokeModel"]["body"])
    assert b'"anthropic_version":"bedrock-2023-05-31"' in inner and b'"max_tokens"' in inner and b'"model"' not in inner


def test_tokens_for_a_profile_are_estimated(bedrock: Bedrock) -> None:
    bedrock.cloud.answer(answered({"inputTokens": 42}))
    body = {"model": "claude-profile", "messages": [{"role": "user", "content": "hi"}]}
    answer = bedrock.stack.call(body, path="/v1/messages/count_tokens")
    assert answer.json()["input_tokens"] > 0 and bedrock.cloud.received == []


ERRORS = [
    (refused(429, "ThrottlingException", "Too many tokens, please wait"), 429, "rate_limit_error", "Too many tokens"),
    (refused(408, "ModelTimeoutException", "took too long"), 504, "timeout_error", "took too long"),
    (refused(400, "ValidationException", "messages: bad"), 400, "invalid_request_error", "messages: bad"),
    (refused(400, "ServiceQuotaExceededException", "quota"), 429, "rate_limit_error", "quota"),
    (refused(503, "ServiceUnavailableException", "busy"), 529, "overloaded_error", "busy"),
    (refused(424, "ModelErrorException", "failed"), 500, "api_error", "failed"),
    (
        refused(
            403, "AccessDeniedException", f"User: arn:aws:sts::111122223333:assumed-role/r is not authorized: {ARN}"
        ),
        403,
        "permission_error",
        "the gateway's credential may not use this model",
    ),
    (
        refused(404, "ResourceNotFoundException", f"no {ARN}"),
        404,
        "not_found_error",
        "no [resource]",
    ),
]


@pytest.mark.parametrize(("answer", "status", "kind", "message"), ERRORS, ids=[row[2] + str(row[1]) for row in ERRORS])
def test_errors(bedrock: Bedrock, answer: Answer, status: int, kind: str, message: str) -> None:
    bedrock.cloud.answer(answer)
    got = bedrock.stack.call(prompt("hi"))
    assert (got.status_code, got.json()["error"]["type"]) == (status, kind)
    assert got.json()["error"]["message"].startswith(message)
    assert "111122223333" not in got.text and "amazon.com" not in got.text


def test_an_exception_before_the_first_event_is_a_status(bedrock: Bedrock) -> None:
    bedrock.cloud.answer(frames(exception("throttlingException", "slow down")))
    got = bedrock.stack.call(prompt("hi", stream=True))
    assert (got.status_code, got.json()["error"]["type"]) == (429, "rate_limit_error")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("throttlingException", "rate_limit_error"),
        ("modelTimeoutException", "timeout_error"),
        ("modelStreamErrorException", "api_error"),
        ("serviceUnavailableException", "overloaded_error"),
    ],
)
def test_an_exception_in_the_midst_of_a_stream(bedrock: Bedrock, name: str, kind: str) -> None:
    bedrock.cloud.answer(frames(*map(chunk, EVENTS[:3]), exception(name, "no more")))
    got = bedrock.stack.call(prompt("hi", stream=True))
    assert got.status_code == 200 and "Gr" in got.text
    last = got.text.strip().split("\n\n")[-1]
    assert last.startswith("event: error") and kind in last and "no more" in last


def test_a_damaged_frame_ends_the_answer(bedrock: Bedrock) -> None:
    damaged = bytearray(chunk(EVENTS[3]))
    damaged[-1] ^= 1
    bedrock.cloud.answer(frames(*map(chunk, EVENTS[:3]), bytes(damaged), *map(chunk, EVENTS[4:])))
    got = bedrock.stack.call(prompt("hi", stream=True))
    assert "event: error" in got.text and "message_stop" not in got.text


def test_a_guardrail_that_intervenes_is_a_refusal(bedrock: Bedrock) -> None:
    blocked = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Sorry."}]}
    answer = bedrock.ask(answered({**blocked, "amazon-bedrock-guardrailAction": "INTERVENED"}))
    assert (answer["stop_reason"], text_of(answer)) == ("refusal", "Sorry.")
    delta = {**EVENTS[5], "amazon-bedrock-guardrailAction": "INTERVENED"}
    bedrock.cloud.answer(frames(*map(chunk, [*EVENTS[:5], delta, EVENTS[6]])))
    got = bedrock.stack.call(prompt("hi", stream=True))
    assert '"stop_reason":"refusal"' in got.text


def test_nothing_shows_the_keys(bedrock: Bedrock) -> None:
    quoted = f"The key {clouds.KEYS.secret_key} of {clouds.KEYS.access_key} is wrong"
    bedrock.cloud.answer(refused(400, "ValidationException", quoted))
    got = bedrock.stack.call(prompt("hi"))
    assert clouds.KEYS.secret_key not in got.text and clouds.KEYS.access_key not in got.text
    assert clouds.KEYS.secret_key not in bedrock.stack.printed
