"""The attackers of `make soak` are bounded, and send what they say."""

import itertools
import json
import threading
import time

import pytest

from bench import attack


@pytest.mark.parametrize("shape", attack.BOMBS)
def test_a_bomb_is_a_request(shape: str) -> None:
    body = attack.bomb(shape)
    assert attack.BODY_BYTES / 2 < len(body) <= attack.BODY_BYTES
    assert json.loads(body)["model"] == "claude-x"


def test_they_attack_this_machine_alone() -> None:
    assert attack.HOST == "127.0.0.1"


def test_the_clock_keeps_the_pace_and_ends() -> None:
    began = time.monotonic()
    ticks = [(n, time.monotonic() - began) for n in attack.Clock(0.5).ticks(10)]
    assert ticks and [n for n, _ in ticks] == list(range(len(ticks))) and len(ticks) <= 6
    assert all(seconds >= n / 10 - 0.01 for n, seconds in ticks)


@pytest.mark.parametrize("kind", attack.ATTACKERS)
def test_each_ends_though_nobody_listens(kind: str) -> None:
    attacker = threading.Thread(target=attack.ATTACKERS[kind], args=(1, attack.Clock(0.2), "token"))
    attacker.start()
    attacker.join(20)
    assert not attacker.is_alive()


def test_streams_have_the_numbers_of_a_client() -> None:
    data, streams = attack.opened_and_reset(1, 3), []
    while data:
        length = int.from_bytes(data[:3], "big")
        streams.append((data[3], int.from_bytes(data[5:9], "big")))
        data = data[9 + length :]
    headers, reset = 1, 3
    assert streams == list(itertools.chain.from_iterable([(headers, n), (reset, n)] for n in (1, 3, 5)))
