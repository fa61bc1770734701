"""A body in a cloud's form becomes the dialect's, and a cloud's model id the names that the configuration may have."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.errors import Rejection
from extproc.events import Headers
from extproc.wire.bedrock_api import BEDROCK
from extproc.wire.cloud_api import CloudCall, OpenedBody, anthropic_betas, names_of
from extproc.wire.cloud_apis import AZURE_OPENAI, VERTEX

DATED = "claude-sonnet-5-20260101"
ARN = "arn:aws:bedrock:eu-west-1:123456789012"


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("claude-sonnet-5", ("claude-sonnet-5",)),
        ("gpt-4o", ("gpt-4o",)),
        ("anthropic.claude-sonnet-5", ("claude-sonnet-5", "anthropic.claude-sonnet-5")),
        ("us.anthropic.claude-sonnet-5-v1:0", ("claude-sonnet-5", "us.anthropic.claude-sonnet-5-v1:0")),
        ("global.anthropic.claude-opus-4-6-v1", ("claude-opus-4-6", "global.anthropic.claude-opus-4-6-v1")),
        ("us-gov.anthropic.claude-x-v2:0:200k", ("claude-x", "us-gov.anthropic.claude-x-v2:0:200k")),
        (f"eu.anthropic.{DATED}-v1:0", (DATED, f"eu.anthropic.{DATED}-v1:0", "claude-sonnet-5")),
        (
            f"{ARN}:inference-profile/eu.anthropic.{DATED}-v1:0",
            (
                DATED,
                f"{ARN}:inference-profile/eu.anthropic.{DATED}-v1:0",
                f"eu.anthropic.{DATED}-v1:0",
                "claude-sonnet-5",
            ),
        ),
        (
            f"{ARN}:application-inference-profile/a1b2c3",
            ("a1b2c3", f"{ARN}:application-inference-profile/a1b2c3"),
        ),
        ("claude-sonnet-5@20260101", (DATED, "claude-sonnet-5@20260101", "claude-sonnet-5")),
        ("claude-sonnet-5@default", ("claude-sonnet-5", "claude-sonnet-5@default")),
        ("meta.llama4-v1:0", ("meta.llama4-v1:0",)),
        ("", ("",)),
    ],
)
def test_names_of_a_model(model: str, names: tuple[str, ...]) -> None:
    assert names_of(model) == names


@given(st.text(max_size=60))
def test_the_id_itself_is_always_among_them(model: str) -> None:
    assert model in names_of(model)


def opened(call: CloudCall, body: Any) -> OpenedBody:
    found = call.open(json.dumps(body).encode())
    assert isinstance(found, OpenedBody)
    return found


def test_model_and_stream_are_the_paths() -> None:
    call = CloudCall(BEDROCK, "us.anthropic.x", stream=True)
    body = opened(call, {"model": "other", "stream": False, "anthropic_version": "v", "max_tokens": 1})
    assert body.model == "us.anthropic.x"
    assert json.loads(body.written("x")) == {"model": "x", "stream": True, "max_tokens": 1}
    assert json.loads(opened(CloudCall(VERTEX, "x", stream=False), {"stream": True}).written("x")) == {"model": "x"}


@pytest.mark.parametrize("raw", [b'{"max_tokens":1,"max_tokens":2}', b'{ "tool\\u0073": [] }'])
def test_a_name_that_is_given_twice_or_with_escapes_is_refused(raw: bytes) -> None:
    refused = CloudCall(BEDROCK, "m", stream=False).open(raw)
    assert isinstance(refused, Rejection) and "twice" in refused.message


def test_the_bytes_of_other_members_stay() -> None:
    raw = b'{"messages":[ {"content":"\\u00e9","n":1.0e3} ]}'
    found = CloudCall(VERTEX, "m", stream=None).open(raw)
    assert isinstance(found, OpenedBody)
    assert found.written("") == raw


def test_the_body_names_the_model_where_the_path_does_not() -> None:
    call = CloudCall(AZURE_OPENAI, "", stream=None)
    body = opened(call, {"model": "gpt-4o", "stream": True})
    assert (body.model, json.loads(body.written("gpt-4o"))) == ("gpt-4o", {"model": "gpt-4o", "stream": True})
    wrong = opened(call, {"model": 1})
    assert (wrong.model, json.loads(wrong.written(""))) == ("", {"model": 1})


def test_betas_have_anthropics_names() -> None:
    call = CloudCall(BEDROCK, "m", stream=False)
    betas = opened(call, {"anthropic_beta": ["a-1", "tool-search-tool-2025-10-19", "a-1"]}).betas
    assert anthropic_betas(betas) == ("a-1", "advanced-tool-use-2025-11-20")
    assert opened(call, {"anthropic_beta": None}).betas == ()


@pytest.mark.parametrize("betas", ["a", [1], {"a": 1}, [""], ["a,b"], ["a\r\nx-evil: 1"], ["a"] * 101, ["a" * 101]])
def test_what_is_no_list_of_betas_is_refused(betas: Any) -> None:
    refused = CloudCall(BEDROCK, "m", stream=False).open(json.dumps({"anthropic_beta": betas}).encode())
    assert isinstance(refused, Rejection) and refused.path == "anthropic_beta"


@pytest.mark.parametrize("raw", [b"", b"[]", b"1", b"{", b'{"a":}', b"\xff", b"[" * 5000])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    assert isinstance(CloudCall(VERTEX, "m", stream=False).open(raw), Rejection)


def test_what_cannot_be_counted_is_left_out() -> None:
    call = CloudCall(VERTEX, "", stream=None, counts=True)
    body = opened(call, {"model": "m", "max_tokens": 1, "temperature": 0, "messages": [], "tools": []})
    assert json.loads(body.written("m")) == {"model": "m", "messages": [], "tools": []}


SIGNATURE = "AWS4-HMAC-SHA256 Credential=A/20260101/eu/bedrock/aws4_request, SignedHeaders=host, Signature=0"


def test_a_signature_counts_as_no_credential_on_bedrock_only() -> None:
    sent = Headers([("authorization", SIGNATURE), ("x-api-key", "token")])
    assert list(BEDROCK.presented(sent)) == [("x-api-key", "token")]
    assert list(VERTEX.presented(sent)) == list(sent)
    bearer = Headers([("authorization", "Bearer token")])
    assert list(BEDROCK.presented(bearer)) == list(bearer)


def test_azures_key_stands_in_a_header_of_its_own() -> None:
    sent = Headers([("api-key", "a"), ("x-api-key", "b")])
    assert AZURE_OPENAI.presented(sent).all("x-api-key") == ["a", "b"]
    assert list(BEDROCK.presented(sent)) == list(sent)
