"""The table of states in answer.py: what leads from each of them to which."""

import pytest

from extproc.events import Event
from extproc.gateway.answer import Awaited, CollectedError, Flowing, Held, Over
from extproc.gateway.exchange import OutOfOrder
from extproc.gateway.gateway import Gateway
from tests.gateway.test_answer import CHUNK, DONE, FINISH, SSE, sent
from tests.playbook import DEADLINE_REACHED, Playbook, response_body, response_headers
from tests.settings import gateway

HEADERS, ERROR = response_headers(content_type=SSE), response_headers(500)
PIECE, NOTHING, END = response_body(CHUNK), response_body(b": still here\n\n"), response_body(b"", end=True)
REST, BROKEN = response_body(FINISH + DONE), response_body(b'data: {"error":{"message":"no"}}\n\n')
TO: dict[type, tuple[Event, ...]] = {
    Awaited: (),
    CollectedError: (ERROR,),
    Held: (HEADERS,),
    Flowing: (HEADERS, PIECE),
    Over: (HEADERS, PIECE, END),
}
"""What leads to each of them."""


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    return gateway(tmp_path_factory.mktemp("states"))


def at(gate: Gateway, state: type) -> Playbook:
    play = sent(gate, stream=True)
    for event in TO[state]:
        play = then(play, event)
    assert type(play.exchange.answer.state) is state
    return play


def then(play: Playbook, event: Event) -> Playbook:
    play.pending.clear()
    return play >> event


@pytest.mark.parametrize(
    ("state", "event", "expected"),
    [
        (Awaited, HEADERS, Held),
        (Awaited, ERROR, CollectedError),
        (Awaited, response_headers(500, end=True), Over),
        (CollectedError, PIECE, CollectedError),
        (CollectedError, END, Over),
        (Held, NOTHING, Held),
        (Held, PIECE, Flowing),
        (Held, BROKEN, Over),
        (Held, END, Over),
        (Flowing, PIECE, Flowing),
        (Flowing, REST, Flowing),
        (Flowing, BROKEN, Over),
        (Flowing, END, Over),
        (Over, PIECE, Over),
        (Over, DEADLINE_REACHED, Over),
    ],
)
def test_what_leads_where(gate: Gateway, state: type, event: Event, expected: type) -> None:
    play = then(at(gate, state), event)
    assert type(play.exchange.answer.state) is expected


@pytest.mark.parametrize(
    ("state", "seconds", "expected"),
    [
        (CollectedError, 900, Over),
        (Held, 10, Flowing),
        (Held, 900, Over),
        (Flowing, 15, Flowing),
        (Flowing, 900, Over),
    ],
)
def test_where_a_deadline_leads(gate: Gateway, state: type, seconds: float, expected: type) -> None:
    """The client's first, then the provider's."""
    play = then(at(gate, state).after(seconds), DEADLINE_REACHED)
    assert type(play.exchange.answer.state) is expected


@pytest.mark.parametrize("state", [Awaited, CollectedError, Held, Flowing])
def test_a_bug_ends_each_of_them(gate: Gateway, state: type) -> None:
    play = at(gate, state)
    play.pending.clear()
    assert play.fail().pending
    with pytest.raises(OutOfOrder):
        play.exchange.fail()
