"""What callers may use is limited by who they are, also where many calls at once reach several workers."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.e2e.limited import CONFIG, STREAMED, WARNING, Limited, limited_gateway
from tests.e2e.processes import children
from tests.e2e.raw_provider import ENDED, FINE, SAID, STREAM, USED, Connection, RawProvider, whole
from tests.e2e.stack import SECONDS, Json, Stack, prompt, up


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    with limited_gateway(tmp_path_factory.mktemp("budgets")) as running:
        yield running


def at_once(count: int, call: Callable[[], httpx.Response]) -> list[httpx.Response]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: call(), range(count)))


def test_five_requests_are_five_on_four_workers(limited: Limited) -> None:
    token = limited.person("five")
    found = [answer.status_code for answer in at_once(24, lambda: limited.ask(token))]
    assert (found.count(200), found.count(429)) == (5, 19)
    assert limited.ask(limited.person("five")).status_code == 200


def test_a_call_beyond_the_limit_is_refused_in_the_clients_dialect(limited: Limited) -> None:
    token = limited.person("five")
    at_once(5, lambda: limited.ask(token))
    refused = limited.ask(token)
    assert refused.status_code == 429 and refused.headers["x-should-retry"] == "false"
    assert 0 < int(refused.headers["retry-after"]) <= 86400
    error = refused.json()["error"]
    assert error["type"] == "rate_limit_error" and "budget five: 5 requests each day" in error["message"]
    line = limited.stack.record(refused)
    assert (line["reason"], line["error"]) == ("BudgetExceeded", "budget:five")
    chat = limited.ask(token, path="/v1/chat/completions")
    responses = limited.stack.call({"model": "gpt", "input": "q"}, path="/v1/responses", token=token)
    for one in (chat, responses):
        assert one.status_code == 429 and one.json()["error"]["code"] == "rate_limit_exceeded", one.text


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", ["gpt", "several"])
def test_openais_clients_are_told_what_is_left(limited: Limited, model: str, stream: bool) -> None:
    token = limited.person("five")
    limited.provider.plays(STREAM + SAID + USED + ENDED if stream else FINE)
    try:
        answers = [
            limited.stack.call(asked, path=path, token=token)
            for path, asked in (
                ("/v1/chat/completions", prompt("q", model=model, stream=stream)),
                ("/v1/responses", {"model": model, "input": "q", "stream": stream}),
            )
        ]
    finally:
        limited.provider.plays(FINE)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [one.headers["x-ratelimit-limit-requests"] for one in answers] == ["5", "5"]
    assert [one.headers["x-ratelimit-remaining-requests"] for one in answers] == ["4", "3"]
    assert all(0 < int(one.headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 86400 for one in answers)


def test_claude_code_is_told_of_its_spend(limited: Limited) -> None:
    """It knows these headers; docs/budgets.md has them."""
    token, told = limited.person("money"), "anthropic-ratelimit-unified-"
    answers = [limited.ask(token) for _ in range(9)]
    first, last = answers[0].headers, answers[-1].headers
    assert (first[f"{told}status"], last[f"{told}status"]) == ("allowed", "rejected")
    assert first[f"{told}representative-claim"] == "overage" and 0 < float(first[f"{told}overage-utilization"]) < 1
    assert (last[f"{told}overage-utilization"], answers[-1].status_code) == ("1", 429)
    assert int(last["retry-after"]) > 0 and int(last[f"{told}reset"]) > 1_700_000_000
    assert not [name for name in first if name.startswith("x-ratelimit")]


def test_calls_at_one_time_are_limited_and_free_again_when_they_end(limited: Limited) -> None:
    token = limited.person("at-once")
    begun, go_on = threading.Semaphore(0), threading.Event()

    def answered_later(connection: Connection) -> None:
        begun.release()
        go_on.wait(20)
        connection.say(FINE)

    limited.provider.plays(answered_later)
    try:
        with ThreadPoolExecutor(3) as pool:
            running = [pool.submit(limited.ask, token) for _ in range(3)]
            assert all(begun.acquire(timeout=20) for _ in running)
            assert [limited.ask(token).status_code for _ in range(3)] == [429] * 3
            go_on.set()
            assert [one.result().status_code for one in running] == [200] * 3
        assert limited.ask(token).status_code == 200
    finally:
        go_on.set()
        limited.provider.plays(FINE)


def test_cost_is_charged_as_it_is_on_record(limited: Limited) -> None:
    """An answer costs 5 * 2 + 2 * 6 = 22 millionths, and more than twice as much is reserved for each call."""
    token = limited.person("money")
    answers = []
    while (answer := limited.ask(token)).status_code == 200:
        answers.append(answer)
    costs = [limited.stack.record(one)["gen_ai.usage.cost"] for one in answers]
    assert costs == [pytest.approx(0.000022)] * len(costs)
    assert 0.0002 - 0.00007 < sum(costs) <= 0.0002
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (429, "billing_error")
    assert "budget money: 0.0002 USD each month" in error["message"]
    assert WARNING not in answers[0].headers
    assert answers[-1].headers[WARNING].startswith("money: ")


def test_tokens_are_charged_as_reported(limited: Limited) -> None:
    token = limited.person("words")
    big = json.dumps({"id": "c", "object": "chat.completion", "model": "m", "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
        "usage": {"prompt_tokens": 15, "completion_tokens": 5}}).encode()  # fmt: skip
    with limited.playing(whole(big)):
        assert limited.ask(token).status_code == 200
        assert limited.ask(token).status_code == 429


def test_counting_tokens_is_free_and_what_passes_through_is_a_request(limited: Limited) -> None:
    token = limited.person("five")
    for _ in range(6):
        assert limited.ask(token, path="/v1/messages/count_tokens").status_code == 200
    passed = [limited.stack.call(b"{}", path="/v1/files", token=token).status_code for _ in range(6)]
    assert passed == [200] * 5 + [429]


def test_a_budget_that_is_observed_warns_and_refuses_nothing(limited: Limited) -> None:
    token = limited.person("seen")
    answers = [limited.ask(token) for _ in range(3)]
    assert [one.status_code for one in answers] == [200] * 3
    assert WARNING not in answers[0].headers and "seen: 300 % of requests" in answers[2].headers[WARNING]


def test_a_key_that_cannot_be_known_refuses_the_call(limited: Limited) -> None:
    refused = limited.ask(limited.person("centre"))
    assert refused.status_code == 403 and limited.stack.record(refused)["error"] == "budget_undecided:centre"


def test_a_worker_that_is_killed_takes_no_place_with_it(limited: Limited) -> None:
    """Its calls are over, and what it held is free."""
    token = limited.person("at-once")
    begun = threading.Semaphore(0)

    def never(connection: Connection) -> None:
        begun.release()
        connection.until_left()

    limited.provider.plays(never)
    try:
        with ThreadPoolExecutor(3) as pool:
            running = [pool.submit(limited.ask, token) for _ in range(3)]
            assert all(begun.acquire(timeout=20) for _ in running)
            for worker in _workers(limited.stack):
                os.kill(worker, signal.SIGKILL)
            assert all(one.result().status_code >= 500 for one in running)
    finally:
        limited.provider.plays(FINE)
    deadline = threading.Event()
    for _ in range(100):
        if limited.ask(token).status_code == 200:
            break
        deadline.wait(0.2)
    assert limited.ask(token).status_code == 200


def test_what_a_killed_worker_has_not_settled_is_charged_as_on_record(limited: Limited) -> None:
    """The provider has counted, and the answer has not ended."""
    person, begun = f"person-{next(limited.people)}", threading.Semaphore(0)
    token = limited.stack.token(team="large", claims={"sub": person})

    def stays(connection: Connection) -> None:
        connection.say(STREAM + SAID + USED)
        begun.release()
        connection.until_left()

    def used(measure: str) -> str:
        rows = [line.split() for line in limited.command("budget", "list").splitlines()]
        return next(row[3] for row in rows if row[:3] == ["large", person, measure])

    call: Json = {"json": prompt("q", max_tokens=2, stream=True), "headers": {"authorization": f"Bearer {token}"}}
    with (
        limited.playing(stays),
        httpx.stream("POST", f"{limited.stack.url}/v1/messages", timeout=SECONDS, **call) as answer,
    ):
        assert begun.acquire(timeout=SECONDS)
        pieces = answer.iter_text()  # whoever drops it leaves
        assert any("hm" in piece for piece in pieces)
        for worker in _workers(limited.stack):
            os.kill(worker, signal.SIGKILL)
        line = limited.stack.record_where(lambda line: line["jwt.sub"] == person)
    assert line["gen_ai.usage.cost"] == 0.000016 and line["reason"] != "ClientClosed"
    deadline = time.monotonic() + SECONDS
    while float(used("usd")) != line["gen_ai.usage.cost"]:
        assert time.monotonic() < deadline, used("usd")
    assert used("concurrent") == "0"


def _workers(stack: Stack) -> list[int]:
    found = children(stack.process.pid)
    return [pid for pid in found if b"extproc.transport.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_used_outlives_the_gateway(tmp_path: Path, how: signal.Signals) -> None:
    with RawProvider().serving() as provider:
        provider.plays(FINE)
        environ = {"RAW_URL": provider.url}
        token = ""
        with up(tmp_path, environ=environ, config=CONFIG) as stack:
            token = stack.token(team="five", claims={"sub": "ann"})
            assert [_ask(stack, token) for _ in range(5)] == [200] * 5
            if how == signal.SIGKILL:
                threading.Event().wait(1.0)  # what is promised: no more than the last second is lost
                family = children(stack.process.pid)
                for pid in (stack.process.pid, *family):
                    os.kill(pid, signal.SIGKILL)
                stack.process.wait(20)
        with up(tmp_path, environ=environ, config=CONFIG) as stack:
            assert _ask(stack, token) == 429


def _ask(stack: Stack, token: str) -> int:
    asked: Json = prompt("q")
    return stack.call(asked, token=token).status_code


def test_limits_are_shown_and_changed_while_the_gateway_runs(limited: Limited) -> None:
    person = f"person-{next(limited.people)}"
    token = limited.stack.token(team="five", claims={"sub": person})

    def command(*words: str) -> str:
        return limited.command("budget", *words)

    assert [limited.ask(token).status_code for _ in range(6)] == [200] * 5 + [429]
    rows = [line.split() for line in command("list").splitlines()]
    assert ["five", person, "requests", "5", "0", "5"] in [row[:6] for row in rows]
    assert command("grant", "five", person, "+2") == "done\n"
    assert [limited.ask(token).status_code for _ in range(3)] == [200] * 2 + [429]
    assert command("set", "five", person, "8") == "done\n"
    answers = [limited.ask(token) for _ in range(2)]
    assert [one.status_code for one in answers] == [200, 429] and "five: 8 requests" in answers[1].text
    assert command("reset", "five", person) == "done\n"
    assert limited.ask(token).status_code == 200
    assert "there is no budget 'six'" in command("set", "six", person, "8")
    limited.stack.err.says(f"budget five of '{person}': requests 7 -> 8, changed by hand")


def test_a_caller_sees_its_own_budgets_and_nobody_elses(limited: Limited) -> None:
    token, other = limited.person("money"), limited.person("money")
    assert limited.ask(token).status_code == limited.ask(token).status_code == 200
    limited.ask(other)

    def shown(path: str, token: str | None) -> httpx.Response:
        return limited.stack.call(path=path, method="GET", token=token)

    found = shown("/v1/usage", token).json()["budgets"]
    assert [(one["name"], one["measure"], one["limit"], one["per"]) for one in found] == [
        ("money", "usd", 0.0002, "month")
    ]
    assert found[0]["used"] == pytest.approx(0.000044), "two calls, and what was reserved for them is free"
    assert found[0]["resets_at"].endswith("-01T00:00:00Z")
    bar = shown("/api/oauth/usage", token).json()
    assert bar["extra_usage"]["is_enabled"] and bar["limits"][0]["percent"] == 22
    assert shown("/api/oauth/usage", limited.person("five")).json()["limits"] == []
    assert shown("/v1/usage", None).status_code == 401


def test_a_caller_sees_what_was_used_and_not_what_workers_keep_for_further_calls(limited: Limited) -> None:
    """Of a limit that is far away each worker takes a slice, which is more than all of these calls cost."""
    token = limited.person("large")
    assert {answer.status_code for answer in at_once(8, lambda: limited.ask(token))} == {200}
    found = limited.stack.call(path="/v1/usage", method="GET", token=token).json()["budgets"]
    used = {one["measure"]: one["used"] for one in found}
    assert used == {"usd": pytest.approx(8 * 0.000022), "concurrent": 0}
    assert {one["limit"] for one in found} == {500, 1000}


def test_a_call_that_moved_on_is_charged_what_both_attempts_used(limited: Limited) -> None:
    """The first one's answer has an error after its tokens are counted, and no content."""
    token = limited.person("money")
    used = b'data: {"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n'
    failed = STREAM + used + b'data: {"error":{"message":"no","type":"server_error"}}\n\n'
    with limited.playing(failed, STREAMED):
        answer = limited.stack.call(prompt("q", model="several", max_tokens=2, stream=True), token=token)
    line = limited.stack.record(answer)
    assert answer.status_code == 200 and line["gen_ai.provider.name"] == "other", answer.text
    shown = limited.stack.call(path="/v1/usage", method="GET", token=token).json()["budgets"][0]
    assert (line["attempts.input_tokens"], line["attempts.output_tokens"]) == (3, 1)
    assert line["attempts.cost"] == pytest.approx((3 * 2 + 1 * 6) / 1e6)
    assert shown["used"] == pytest.approx(line["gen_ai.usage.cost"] + line["attempts.cost"])
