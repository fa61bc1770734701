import asyncio
import gc
import json
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from extproc.config.loading import Invalid
from extproc.gateway.gateway import Gateway
from extproc.policy.keys.key_sets import KeySetUpdate
from extproc.providers.availability import AttemptOutcome, AvailabilityUpdate, OutcomeSummary
from extproc.store.counters import Claim, Settlement
from extproc.transport import calls, gateways, orders
from extproc.transport.gateways import Gateways
from tests.issuing import ISSUER, jwk
from tests.settings import GATEWAY, KEY, MODELS, PROVIDERS, authenticating

OTHER = GATEWAY.replace("claude-*", "other-*")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    found = tmp_path / "gateway.yaml"
    found.write_text(GATEWAY)
    return found


async def begun(path: Path, *orders: bytes) -> Gateways:
    """Whose supervisor has sent these."""
    held = Gateways(path)
    reader = asyncio.StreamReader()
    for order in orders:
        reader.feed_data(order)
    reader.feed_eof()

    async def given() -> asyncio.StreamReader:
        return reader

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gateways, "_standard_input", given)
        await held.begin()
    return held


def models(gateway: Gateway) -> list[str]:
    return [model.name for model in gateway.source.config.models]


def order(path: Path, number: int, text: str) -> bytes:
    return orders.order(number, {path: text.encode()})


def test_without_a_supervisor_the_files_count(path: Path) -> None:
    async def scene() -> None:
        assert models((await begun(path)).current()) == ["claude-*"]

    asyncio.run(scene())


def test_what_the_supervisor_sends_counts_and_not_the_files(path: Path) -> None:
    path.write_text("broken: [")

    async def scene() -> None:
        assert models((await begun(path, order(path, 7, OTHER))).current()) == ["other-*"]

    asyncio.run(scene())


def test_a_bad_first_one_is_an_error(path: Path) -> None:
    async def scene() -> None:
        with pytest.raises(Invalid):
            await begun(path, order(path, 1, "broken: ["))

    asyncio.run(scene())


def test_a_stream_keeps_the_configuration_it_began_with(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is in use until its last stream has ended."""

    async def scene() -> None:
        held = await begun(path, order(path, 1, GATEWAY), order(path, 2, OTHER))
        streams = [held.acquire(), held.acquire()]
        await held.follow()
        later = held.acquire()
        assert [models(one.gateway) for one in streams] == [["claude-*"]] * 2
        assert models(later.gateway) == models(held.current()) == ["other-*"]
        assert capsys.readouterr().out == "using 1\nusing 1 2\n"
        held.release(streams[0])
        held.release(later)
        assert capsys.readouterr().out == ""
        held.release(streams[1])
        assert capsys.readouterr().out == "using 2\n"

    asyncio.run(scene())


def test_a_configuration_without_streams_is_replaced_at_once(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def scene() -> None:
        held = await begun(path, order(path, 1, GATEWAY), order(path, 2, OTHER), order(path, 3, GATEWAY))
        held.release(held.acquire())
        former = weakref.ref(held.current())
        gc.disable()
        try:
            await held.follow()
            assert former() is None
        finally:
            gc.enable()

    asyncio.run(scene())
    assert capsys.readouterr().out == "using 1\nusing 2\nusing 3\n"


def test_what_calls_have_used_of_budgets_is_told_at_the_end(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def scene() -> None:
        held = await begun(path, order(path, 1, GATEWAY))
        held.current().budgets.wallet.settle([Claim("a", 3, 10, 0, 0, 2**40)], [3])
        assert capsys.readouterr().out == ""
        held.flush()
        said = orders.budgets(capsys.readouterr().out)
        assert said is not None and said.settlements == [Settlement("a", 0, 2**40, 3, 3)]

    asyncio.run(scene())


def test_messages_may_be_as_large_as_bodies_and_a_little_more(path: Path) -> None:
    async def scene() -> None:
        text = f"{GATEWAY}\nmax_body_bytes: 5000000\n"
        held = await begun(path, order(path, 1, GATEWAY), order(path, 2, text))
        assert held.max_message_bytes() == (32 << 20) + calls.MESSAGE_MARGIN_BYTES
        await held.follow()
        assert held.max_message_bytes() == 5_000_000 + calls.MESSAGE_MARGIN_BYTES

    asyncio.run(scene())


def test_a_bad_later_one_changes_nothing(
    path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        held = await begun(path, order(path, 1, GATEWAY), order(path, 2, f"{KEY}: ["), order(path, 3, OTHER))
        await held.follow()
        assert models(held.current()) == ["other-*"]

    asyncio.run(scene())
    assert capsys.readouterr().out.splitlines()[:2] == ["using 1", "using 1"]
    assert "configuration 2 could not be taken: Invalid" in caplog.text
    assert KEY not in caplog.text


def test_issuers_keys_come_from_the_supervisor(path: Path) -> None:
    """Before the configuration that names their place, and again whenever they were fetched."""
    url = "https://idp.example/jwks"
    text = f"{authenticating(jwks={'url': url})}\n{PROVIDERS}\n{MODELS}"

    def told(*kids: str) -> bytes:
        now = time.time()
        return orders.encoded(
            KeySetUpdate((url, ISSUER, False), json.dumps({"keys": [jwk(kid=kid) for kid in kids]}).encode(), now, now)
        )

    async def scene() -> None:
        held = await begun(path, told("EC-1"), order(path, 1, text), told("EC-1", "EC-2"), order(path, 2, text))
        assert held.ready()
        [plan] = held.current().fetched
        sets = held.keys.at(plan)
        assert len(sets.current() or []) == 1
        await held.follow()
        assert held.keys.at(plan) is sets and len(sets.current() or []) == 2

    asyncio.run(scene())


def test_without_an_issuers_keys_nothing_is_ready(path: Path) -> None:
    text = f"{authenticating(jwks={'url': 'https://idp.example/jwks'})}\n{PROVIDERS}\n{MODELS}"

    async def scene() -> None:
        assert not (await begun(path, order(path, 1, text))).ready()

    asyncio.run(scene())


def test_all_configurations_share_what_is_known_of_providers(path: Path) -> None:
    """It comes before the first of them, and at any time later."""

    def told(until: dict[str, float]) -> bytes:
        return orders.encoded(AvailabilityUpdate(until, []))

    async def scene() -> None:
        held = await begun(path, told({"openai": 7.5}), order(path, 1, GATEWAY), order(path, 2, OTHER), told({}))
        first = held.current()
        assert first.availability.until("openai") == 7.5
        await held.follow()
        assert held.current() is not first
        assert held.current().availability is first.availability and first.availability.until("openai") == 0

    asyncio.run(scene())


async def until(fits: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not fits():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.001)


def test_outcomes_are_reported_in_few_lines(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, room = 0, False

    def can_say() -> bool:
        nonlocal tried
        tried += 1
        return room

    monkeypatch.setattr(orders, "can_say", can_say)

    async def scene() -> None:
        nonlocal room
        held = await begun(path, order(path, 1, GATEWAY))
        report = held.current().availability.report
        for _ in range(3):
            report(AttemptOutcome("openai", "failed"))
        report(AttemptOutcome("other", "failed"))
        await until(lambda: tried >= 2)
        # The supervisor does not read: nothing is written, and nothing is lost.
        assert capsys.readouterr().out == ""
        report(AttemptOutcome("openai", "failed"))
        room = True
        found: list[OutcomeSummary | None] = []

        def arrived() -> bool:
            found.extend(map(orders.outcomes, capsys.readouterr().out.splitlines()))
            return len(found) >= 2

        await until(arrived)
        assert found == [OutcomeSummary("openai", 4), OutcomeSummary("other", 1)]

    asyncio.run(scene())


def test_without_a_supervisor_nothing_is_reported(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateways, "REPORT_SECONDS", 0)

    async def scene() -> None:
        held = await begun(path)
        held.current().availability.report(AttemptOutcome("openai", "failed"))
        for _ in range(3):
            await asyncio.sleep(0)
        assert capsys.readouterr().out == ""

    asyncio.run(scene())


SEVERAL = GATEWAY.replace("provider: openai, model: gpt-4o-mini", "providers: [{provider: openai, model: gpt-4o-mini}]")


def used(*numbers: int) -> bytes:
    return orders.encoded(orders.InUse([*numbers]))


def test_an_attempt_gets_the_configuration_of_its_call(path: Path) -> None:
    """It may have been admitted by another worker, which has more to do and is behind."""

    async def scene() -> None:
        held = await begun(path, order(path, 1, SEVERAL), order(path, 2, SEVERAL), used(1, 2))
        await held.follow()
        assert held.acquire().number == 2
        for _ in range(2):
            found = await held.acquire_same(1)
            assert found.number == 1
            held.release(found)
        assert (await held.acquire_same(2)).number == 2

    asyncio.run(scene())


def test_a_configuration_goes_once_no_worker_uses_it(path: Path) -> None:
    async def scene() -> None:
        held = await begun(path, order(path, 1, SEVERAL), order(path, 2, SEVERAL), used(2))
        former = weakref.ref(held.current())
        gc.disable()
        try:
            await held.follow()
            assert former() is None
        finally:
            gc.enable()
        # The attempt then sees for itself whether its provider is there.
        assert (await held.acquire_same(1)).number == 2

    asyncio.run(scene())


def test_what_others_use_no_more_stays_for_our_own_streams(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def scene() -> None:
        held = await begun(path, order(path, 1, SEVERAL), order(path, 2, SEVERAL), used(2))
        mine = held.acquire()
        await held.follow()
        assert (await held.acquire_same(1)) is mine
        held.release(mine)
        assert capsys.readouterr().out == "using 1\nusing 1 2\n"
        held.release(mine)
        assert capsys.readouterr().out == "using 2\n"

    asyncio.run(scene())


def test_an_attempt_waits_for_a_configuration_that_is_on_its_way(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        held = await begun(path, order(path, 1, SEVERAL), order(path, 2, SEVERAL))
        waiting = asyncio.create_task(held.acquire_same(2))
        await asyncio.sleep(0)
        assert not waiting.done()
        await held.follow()
        assert (await waiting).number == 2
        monkeypatch.setattr(gateways, "SAME_SECONDS", 0.01)
        with pytest.raises(TimeoutError):
            await held.acquire_same(3)

    asyncio.run(scene())
