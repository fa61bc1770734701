"""What an exchange does otherwise where the provider is a cloud. tests/translate/test_wrapping.py has what is sent."""

from pathlib import Path

import pytest

from extproc.gateway.gateway import Gateway
from extproc.policy.keys.key_sets import ReplicatedKeySets
from extproc.providers.cloud_credentials import CredentialUpdate, bearer
from extproc.wire.event_stream import CONTENT_TYPE
from tests.e2e.clouds import EVENTS, chunk
from tests.gateway.test_answer import ASK, patience
from tests.issuing import token
from tests.playbook import (
    DEADLINE_REACHED,
    Playbook,
    awaits,
    begins,
    forwards,
    rejects,
    request_body,
    request_headers,
    response_body,
    response_headers,
    says,
)
from tests.settings import AUTHENTICATION, ENVIRON, source

KEYS = "keys: {access_key_id: {env: OPENAI_API_KEY}, secret_access_key: {env: OPENAI_API_KEY}}"
CONFIG = f"""{AUTHENTICATION}
providers:
  bedrock:
    cloud: aws-bedrock
    region: eu-central-1
    dialects: [messages]
    auth: {{aws: {{{KEYS}}}}}
  vertex:
    cloud: google-vertex
    project: p
    location: eu
    dialects: [messages]
    auth: {{google: {{metadata: true}}}}
models:
  - {{name: claude-x, provider: bedrock, model: eu.anthropic.claude-x}}
  - {{name: claude-vertex, provider: vertex}}
streaming: {{first_event_hold: 10, ping_interval: 15}}
"""


@pytest.fixture
def keys() -> ReplicatedKeySets:
    return ReplicatedKeySets(lambda _name: None)


@pytest.fixture
def gate(tmp_path: Path, keys: ReplicatedKeySets) -> Gateway:
    return Gateway(source(tmp_path, CONFIG), ENVIRON, remote=keys)


def asked(gate: Gateway, **body: object) -> Playbook:
    play = Playbook(gate) >> request_headers(token=token()) << awaits()
    return play >> request_body({**ASK, **body})


def test_the_status_of_aws_frames_is_held_as_long_as_that_of_events(gate: Gateway) -> None:
    play = asked(gate, stream=True) << forwards({}) >> response_headers(content_type=CONTENT_TYPE)
    assert patience(play) == pytest.approx(10)
    play = play.after(10) >> DEADLINE_REACHED << begins()
    play = play >> response_body(b"".join(map(chunk, EVENTS)), end=True)
    assert play << says(end=True, events=[event["type"] for event in EVENTS])


def test_a_call_without_a_credential_is_refused_until_it_is_there(gate: Gateway, keys: ReplicatedKeySets) -> None:
    [spec] = gate.credentials
    refused = rejects(503, "overloaded_error", headers={"retry-after": "5"}, error="no_credential")
    assert asked(gate, model="claude-vertex") << refused
    keys.credentials.take(CredentialUpdate(spec.name, bearer("t"), 4e9))
    assert asked(gate, model="claude-vertex") << forwards({}, {"authorization": "Bearer t"})
    keys.credentials.take(CredentialUpdate(spec.name, bearer("t"), 5.0))
    assert asked(gate, model="claude-vertex") << refused
