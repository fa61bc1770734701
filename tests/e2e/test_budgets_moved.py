"""Calls for which a budget has no room are answered by the model that it names."""

import time
from collections.abc import Iterator

import pytest

from tests.e2e.limited import METRICS, STREAMED, WARNING, Limited, limited_gateway
from tests.e2e.prometheus import scraped
from tests.e2e.raw_provider import FINE, whole
from tests.e2e.stack import SECONDS, Json, ids, prompt
from tests.e2e.test_cloud_clients import CLOUDS, asking


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    with limited_gateway(tmp_path_factory.mktemp("budgets")) as running:
        yield running


BODIES: dict[str, Json] = {
    "/v1/messages": prompt("q"),
    "/v1/chat/completions": prompt("q"),
    "/v1/responses": {"model": "claude-x", "input": "q"},
}
SENT: Json = {"gen_ai.request.model": "claude-x", "gen_ai.upstream.model": "small-one", "gen_ai.provider.name": "other"}
MOVED: Json = {"budget.moved_by": "moved", "budget.moved_to": "small", **SENT}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
def test_a_call_beyond_its_budget_is_answered_by_another_model(limited: Limited, path: str, stream: bool) -> None:
    token = limited.beyond("moved")
    with limited.playing(STREAMED if stream else FINE):
        answer = limited.stack.call({**BODIES[path], "stream": stream}, path=path, token=token)
    assert answer.status_code == 200 and ("hm " if stream else "hi") in answer.text
    assert ('"model":"m"' if "chat" in path else "claude-x") in answer.text, "the provider's name in its own dialect"
    assert answer.headers[WARNING].startswith("moved: no room, answered by small, resets ")
    line = limited.stack.record(answer)
    assert {name: line[name] for name in MOVED} == MOVED


@pytest.mark.parametrize("cloud", CLOUDS)
def test_clients_of_clouds_are_moved(limited: Limited, cloud: str) -> None:
    token = limited.beyond("moved")
    with CLOUDS[cloud][0](limited.stack, token) as client:
        message = client.messages.create(**asking(cloud, "q"))
        with limited.playing(STREAMED), client.messages.stream(**asking(cloud, "q")) as stream:
            assert "".join(stream.text_stream) == "hm "
    assert message.content[0].text == "hi"
    line = limited.stack.record_where(lambda line: message._request_id in ids(line))
    assert (line["budget.moved_by"], line["gen_ai.upstream.model"]) == ("moved", "small-one")


def test_a_heavy_body_is_moved(limited: Limited) -> None:
    token = limited.beyond("moved")
    turns = [{"role": "user", "content": "q"}] * 20_000
    answer = limited.stack.call(prompt("q", messages=turns), token=token)
    assert answer.status_code == 200, answer.text
    line = limited.stack.record(answer)
    assert {name: line[name] for name in MOVED} == MOVED


def test_a_call_is_moved_to_a_model_of_several_providers(limited: Limited) -> None:
    """The first provider fails, and the second answers."""
    token = limited.beyond("spread")
    with limited.playing(whole(b"{}", status="500 Internal Server Error"), FINE):
        answer = limited.ask(token)
    line = limited.stack.record(answer)
    assert answer.status_code == 200 and answer.headers[WARNING].startswith("spread: no room, answered by several")
    assert (line["budget.moved_to"], line["gen_ai.provider.name"]) == ("several", "other")
    assert line["attempts"].startswith("own 500")


def test_what_cannot_be_moved_is_refused(limited: Limited) -> None:
    """The caller may not use the other model, or nobody reads the call."""
    refused = limited.ask(limited.beyond("kept-out"))
    assert refused.status_code == 429 and "budget kept-out: 1 requests each day" in refused.text
    assert limited.stack.record(refused)["error"] == "budget:kept-out"
    token = limited.beyond("moved")
    assert limited.ask(token, path="/v1/messages/count_tokens").status_code == 200
    assert limited.stack.call(b"{}", path="/v1/files", token=token).status_code == 429


def test_moves_are_in_metrics_and_in_the_ledger(limited: Limited) -> None:
    person = f"person-{next(limited.people)}"
    token = limited.stack.token(team="moved", claims={"sub": person})
    assert [limited.ask(token).status_code for _ in range(2)] == [200, 200]
    limited.ask(limited.beyond("kept-out"))
    refused, moved = "extproc_budget_refusals_total", "extproc_budget_moved_calls_total"
    seen = scraped(
        f"http://127.0.0.1:{METRICS}/metrics",
        lambda found: found.total(refused, budget="kept-out") > 0 < found.total(moved, budget="moved", model="small"),
    )
    assert seen.total("extproc_budget_used_ratio", budget="moved", key=person) == 2
    assert seen.total("extproc_budget_keys", budget="moved", state="used_up") >= 1
    assert seen.total("extproc_budget_store_up") == 1

    def kept() -> list[list[str]]:
        table = limited.command("usage", "--by", "subject,model,upstream_model,moved_by", "--format", "csv")
        return [row.split(",")[:5] for row in table.splitlines() if row.startswith(f"{person},")]

    deadline = time.monotonic() + SECONDS
    while len(rows := kept()) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sorted(rows) == [[person, "claude-x", "claude-x", "", "1"], [person, "claude-x", "small-one", "moved", "1"]]
