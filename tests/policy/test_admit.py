"""What a worker takes on at a time, and that all of it is given back."""

from pathlib import Path

import pytest

from extproc.gateway import Gateway
from extproc.policy.admit import Held
from tests.issuing import token
from tests.playbook import Playbook, awaits, forwards, rejects, request_body, request_headers, response_headers
from tests.settings import AUTHENTICATION, PROVIDERS, faults, gateway

TEXT = f"""
{AUTHENTICATION}
{PROVIDERS}
models: [{{name: "*", provider: openai, model: gpt-4o}}]
max_body_bytes: 2000
limits: {{calls: 2, body_bytes: 3000}}
"""
ASK = {"model": "claude-x", "max_tokens": 10, "messages": [{"role": "user", "content": "q"}]}


@pytest.fixture
def gate(tmp_path: Path) -> Gateway:
    return gateway(tmp_path, TEXT)


def asks(gate: Gateway, size: int | None = 10, path: str = "/v1/messages") -> Playbook:
    """`size`: None for a body that comes in chunks."""
    length = "" if size is None else str(size)
    return Playbook(gate) >> request_headers(path, token=token(), content_length=length)


BUSY = rejects(503, "overloaded_error", headers={"retry-after": "2"}, reason="Overloaded", error="overloaded")


def test_so_many_calls_and_no_more(gate: Gateway) -> None:
    first, second = asks(gate) << awaits(), asks(gate) << awaits()
    assert asks(gate) << BUSY
    gate.ended(first.exchange)
    third = asks(gate) << awaits()
    for one in (second, third):
        gate.ended(one.exchange)


def test_so_many_bytes_and_no_more(gate: Gateway) -> None:
    asks(gate, 2000) << awaits()
    assert asks(gate, 1001) << BUSY
    assert asks(gate, 1000) << awaits()


def test_a_body_of_unknown_size_may_be_the_largest(gate: Gateway) -> None:
    asks(gate, None) << awaits()
    assert asks(gate, 1001) << BUSY


def test_room_for_a_body_is_given_back_when_the_provider_answers(gate: Gateway) -> None:
    play = asks(gate, 2000) << awaits()
    play >> request_body(ASK) << forwards({})
    assert asks(gate, 2000) << BUSY
    play >> response_headers(200, "text/event-stream")
    assert asks(gate, 2000) << awaits()


def test_what_was_refused_takes_no_room_and_gives_none_back(gate: Gateway) -> None:
    for _ in range(3):
        refused = Playbook(gate) >> request_headers(content_length="10") << rejects(401, "authentication_error")
        gate.ended(refused.exchange)
    one, two = asks(gate) << awaits(), asks(gate) << awaits()
    refused = asks(gate) << BUSY
    gate.ended(refused.exchange)
    assert asks(gate) << BUSY
    for play in (one, two):
        gate.ended(play.exchange)
        gate.ended(play.exchange)
    assert gate._admit.held == Held()


def test_a_chat_client_hears_it_in_its_dialect(gate: Gateway) -> None:
    for _ in range(2):
        asks(gate) << awaits()
    assert asks(gate, path="/v1/chat/completions") << {
        "action": "Respond", "status": 503, "body": {"error": {"code": "server_is_overloaded"}}
    }  # fmt: skip


def test_no_room_for_one_body_is_a_mistake(tmp_path: Path) -> None:
    assert "limits.body_bytes" in faults(tmp_path, TEXT.replace("3000", "1999"))[0]
