"""What a worker takes on at a time, and that all of it is given back."""

import json
from pathlib import Path

import pytest

from extproc.gateway.gateway import Gateway
from extproc.policy.admit import InFlight
from tests.issuing import claims, token
from tests.playbook import Playbook, awaits, forwards, rejects, request_body, request_headers, response_headers
from tests.settings import AUTHENTICATION, PROVIDERS, authenticating, faults, gateway

TEXT = f"""
{AUTHENTICATION}
{PROVIDERS}
models: [{{name: "*", provider: openai, model: gpt-4o}}]
max_body_bytes: 2000
limits: {{calls: 2, body_bytes: 3000, caller_share: 100}}
"""
ASK = {"model": "claude-x", "max_tokens": 10, "messages": [{"role": "user", "content": "q"}]}


@pytest.fixture
def gate(tmp_path: Path) -> Gateway:
    return gateway(tmp_path, TEXT)


def asks(gate: Gateway, size: int | None = 10, path: str = "/v1/messages", sub: str = "ann") -> Playbook:
    """`size`: None for a body that comes in chunks."""
    length = "" if size is None else str(size)
    return Playbook(gate) >> request_headers(path, token=token(claims(sub=sub)), content_length=length)


BUSY = rejects(503, "overloaded_error", headers={"retry-after": "2"}, reason="Overloaded", error="overloaded")


def test_so_many_calls_and_no_more(gate: Gateway) -> None:
    first, second = asks(gate) << awaits(), asks(gate) << awaits()
    assert asks(gate) << BUSY
    gate.ended(first.exchange)
    third = asks(gate) << awaits()
    for one in (second, third):
        gate.ended(one.exchange)


def sends(gate: Gateway, size: int, **caller: str) -> Playbook:
    """A call whose body of so many bytes has arrived."""
    play = asks(gate, size, **caller) << awaits()
    return play >> request_body({**ASK, "metadata": {"x": "y" * (size - LEAST)}})


LEAST = len(json.dumps({**ASK, "metadata": {"x": ""}}))


def test_so_many_bytes_and_no_more(gate: Gateway) -> None:
    assert sends(gate, 2000) << forwards({})
    assert asks(gate, 1001) << BUSY
    assert sends(gate, 1000) << forwards({})


@pytest.mark.parametrize("size", [None, 2000])
def test_an_announced_body_takes_no_room(gate: Gateway, size: int | None) -> None:
    asks(gate, size) << awaits()
    assert sends(gate, 2000) << forwards({})


def test_a_body_that_finds_no_room_is_refused(gate: Gateway) -> None:
    late = asks(gate, None) << awaits()
    assert sends(gate, 2000) << forwards({})
    assert late >> request_body({**ASK, "metadata": {"x": "y" * (1001 - LEAST)}}) << BUSY


def test_room_for_a_body_is_given_back_when_the_provider_answers(gate: Gateway) -> None:
    play = sends(gate, 2000) << forwards({})
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
    assert gate._admission.in_flight == InFlight()


def test_a_chat_client_hears_it_in_its_dialect(gate: Gateway) -> None:
    for _ in range(2):
        asks(gate) << awaits()
    assert asks(gate, path="/v1/chat/completions") << {
        "action": "Respond", "status": 503, "body": {"error": {"code": "server_is_overloaded"}}
    }  # fmt: skip


def test_no_room_for_one_body_is_a_mistake(tmp_path: Path) -> None:
    assert "limits.body_bytes" in faults(tmp_path, TEXT.replace("3000", "1999"))[0]


SHARED = TEXT.replace(
    "{calls: 2, body_bytes: 3000, caller_share: 100}", "{calls: 8, body_bytes: 10000, caller_share: 25}"
)
SHARE = rejects(429, "rate_limit_error", headers={"retry-after": "2"}, reason="Overloaded", error="caller_share")


@pytest.fixture
def shared(tmp_path: Path) -> Gateway:
    """A caller may have 2 of 8 calls and 2500 of 10000 bytes."""
    return gateway(tmp_path, SHARED)


def test_a_callers_share_of_calls(shared: Gateway) -> None:
    first, _ = asks(shared) << awaits(), asks(shared) << awaits()
    assert asks(shared) << SHARE
    assert asks(shared, sub="bob") << awaits()
    shared.ended(first.exchange)
    assert asks(shared) << awaits()


def test_a_callers_share_of_body_bytes(shared: Gateway) -> None:
    first = sends(shared, 2000) << forwards({})
    assert asks(shared, 501) << SHARE
    assert sends(shared, 501, sub="bob") << forwards({})
    assert asks(shared, 500) << awaits()
    first >> response_headers(200, "text/event-stream")
    assert asks(shared, 2000) << SHARE, "two calls still run"


def test_one_call_and_one_body_always_fit(tmp_path: Path) -> None:
    gate = gateway(tmp_path, SHARED.replace("calls: 8, body_bytes: 10000", "calls: 3, body_bytes: 4000"))
    assert sends(gate, 2000) << forwards({})
    assert asks(gate) << SHARE


def test_callers_without_a_credential_are_told_apart_by_their_address(tmp_path: Path) -> None:
    gate = gateway(tmp_path, SHARED.replace(AUTHENTICATION, authenticating(mode="optional")))

    def call(source: str) -> Playbook:
        return Playbook(gate) >> request_headers(content_length="10", source=source)

    for _ in range(2):
        call("192.0.2.1:1000") << awaits()
    assert call("192.0.2.1:2000") << SHARE
    assert call("192.0.2.2:1000") << awaits()


def test_addresses_of_one_network_are_one_caller(tmp_path: Path) -> None:
    """Whoever has one IPv6 address has 2 ** 64 of them."""
    gate = gateway(tmp_path, SHARED.replace(AUTHENTICATION, authenticating(mode="optional")))

    def call(source: str) -> Playbook:
        return Playbook(gate) >> request_headers(content_length="10", source=source)

    for source in ("[2001:db8::1]:1000", "[2001:db8::ffff:2]:1000"):
        call(source) << awaits()
    assert call("[2001:db8::3]:1000") << SHARE
    assert call("[2001:db8:0:1::1]:1000") << awaits()


def test_nobody_is_remembered_who_has_nothing_in_flight(shared: Gateway) -> None:
    for sub in "abc":
        shared.ended((sends(shared, 1000, sub=sub) << forwards({})).exchange)
    assert shared._admission.in_flight == InFlight()
