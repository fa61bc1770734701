"""What is in the log of calls is in the ledger a moment later, with the same tokens and costs, whatever happened to the
call, to a worker or to the database."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from extproc.config import loading
from extproc.usage.calls import Call, call_of, is_kept
from extproc.usage.ledger import Ledger
from extproc.usage.opening import open_ledger
from tests.e2e.bare import bare_envoy, configured, processor
from tests.e2e.processes import children
from tests.e2e.prometheus import scraped
from tests.e2e.refusals import PROMPT
from tests.e2e.sse import events, streaming
from tests.e2e.stack import GATEWAY, SECONDS, Json, Line, Model, Stack, demo_model, free_port, prompt, up
from tests.e2e.test_observability import MIXED
from tests.e2e.test_processor_faults import kill_worker, until_it_works
from tests.postgresql_server import PASSWORD, PostgreSqlServer, postgresql_server

PRICED = 'prices: {overrides: [{model: "gpt-*", input: 2, output: 6, cache_read: 1}]}\n'
CONFIG = GATEWAY.replace(
    "models:", '  gone: {dialects: [chat], base_url: "${GONE_URL}"}\nmodels:\n  - {name: gone, provider: gone}'
)
CONFIG += """
routes:
  - {path: /v1/files*, serve: passthrough, provider: openai}
metrics: {port: "${METRICS_PORT}"}
workers: 2
"""
CONFIG += PRICED
IN_SQLITE, IN_POSTGRESQL = "usage: {}\n", 'usage: {postgresql: {url: "${PG_URL}", password: {env: PG_PASSWORD}}}\n'
SUMMED = ("calls", "failed_calls", "unpriced_calls", "estimated_calls", "input_tokens", "output_tokens",
          "cache_read_tokens", "cache_write_tokens", "cost")  # fmt: skip


@dataclass
class Kept:
    stack: Stack
    environ: dict[str, str]
    metrics: str

    @contextlib.contextmanager
    def ledger(self) -> Iterator[Ledger]:
        found = open_ledger(loading.load(self.stack.folder / "gateway.yaml", self.environ), self.environ)
        try:
            yield found
        finally:
            found.close()

    def sums(self, *by: str) -> list[Json]:
        with self.ledger() as ledger:
            return ledger.sums(by)

    def until(self, true: Callable[[], bool]) -> float:
        """Returns how long it took."""
        began = time.monotonic()
        while not true():
            assert time.monotonic() - began < SECONDS, self.stack.err.text
            time.sleep(0.02)
        return time.monotonic() - began

    def usage(self, *words: str) -> Any:
        """What the command prints."""
        command = [sys.executable, "-m", "extproc", "usage", "--format", "json", *words]
        environ = {**os.environ, **self.environ}
        return json.loads(subprocess.check_output(command, cwd=self.stack.folder, env=environ, timeout=60))

    def logged(self) -> list[Call]:
        """The calls of the log that belong into the ledger."""
        lines = [Line(json.loads(line)) for line in self.stack.out.seen if line.startswith("{")]
        return [call_of(line, str(number)) for number, line in enumerate(lines) if is_kept(line)]


@contextlib.contextmanager
def keeping(folder: Path, usage: str, **more: str) -> Iterator[Kept]:
    (folder / "model").mkdir()
    port = free_port()
    with demo_model(folder / "model") as model:
        environ = {"MODEL_URL": model.url, "GONE_URL": f"http://127.0.0.1:{free_port()}/v1", "METRICS_PORT": str(port)}
        environ |= {"MODEL_KEY": "sk-test-provider-key-0123456789abcdef", **more}
        with up(folder, environ=environ, config=CONFIG + usage) as stack:
            yield Kept(stack, environ, f"http://127.0.0.1:{port}/metrics")


def summed(calls: list[Call]) -> Json:
    """As the ledger would."""

    def total(name: str) -> int:
        return sum(getattr(call, name) or 0 for call in calls)

    unpriced = [call for call in calls if call.cost is None]
    known = [call for call in unpriced if call.input_tokens is not None or _has_passed(call)]
    counts = [len(calls), sum(bool(call.reason) for call in calls), len(known), total("estimated")]
    return dict(zip(SUMMED, [*counts, *map(total, SUMMED[4:])], strict=True))


def _has_passed(call: Call) -> bool:
    return call.operation == "passthrough" and not call.reason


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with keeping(tmp_path_factory.mktemp("ledger"), IN_SQLITE) as running:
        yield running


@pytest.fixture(scope="module")
def database() -> Iterator[PostgreSqlServer]:
    with postgresql_server() as server:
        yield server


def ask(stack: Stack, path: str, model: str, *, stream: bool) -> None:
    said = f"{PROMPT}\ndemo: say one two three"
    asked: Json = {"model": model, "stream": stream, "max_tokens": 50, "messages": [{"role": "user", "content": said}]}
    if path.endswith("responses"):
        asked = {"model": model, "stream": stream, "input": said}
    answer = stack.call(asked, path=path)
    assert answer.status_code == 200 and answer.content


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions", "/v1/responses"])
def test_a_call_is_in_the_ledger_within_a_second(kept: Kept, path: str, stream: bool) -> None:
    took = []
    for number in range(3):
        model = f"gpt-{path.rpartition('/')[2]}-{stream}-{number}"
        ask(kept.stack, path, model, stream=stream)

        def rows(model: str = model) -> list[Json]:
            return [
                row
                for row in kept.sums("model", "upstream_model", "provider", "subject", "team")
                if row["model"] == model
            ]

        took.append(kept.until(lambda: bool(rows())))
        [row] = rows()
        line = kept.stack.record_where(lambda line, model=model: line["gen_ai.request.model"] == model)  # type: ignore[misc]
        assert row["calls"] == 1 and row["output_tokens"] == line["gen_ai.usage.output_tokens"] > 0
        assert row["input_tokens"] == line["gen_ai.usage.input_tokens"] > 0
        expected = row["input_tokens"] * 2000 + row["output_tokens"] * 6000 - row["cache_read_tokens"] * 1000
        assert row["cost"] == expected == round(line["gen_ai.usage.cost"] * 1e9)
        assert (row["upstream_model"], row["provider"], row["team"]) == (model, "openai", "data-platform")
    assert min(took) < 1


def test_calls_of_known_callers_that_were_refused_are_in_it(kept: Kept) -> None:
    refused = kept.stack.call(prompt(PROMPT, model="gpt-refused"), token=kept.stack.token(team="marketing"))
    strangers = kept.stack.call(prompt(PROMPT, model="gpt-refused"), token=None)
    assert (refused.status_code, strangers.status_code) == (403, 401)
    kept.until(lambda: any(row["team"] == "marketing" for row in kept.sums("team")))
    [row] = [row for row in kept.sums("team", "reason", "subject") if row["team"] == "marketing"]
    assert (row["reason"], row["calls"], row["failed_calls"], row["cost"]) == ("Authorization", 1, 1, 0)
    assert "JwtAuth" not in {row["reason"] for row in kept.sums("reason")}


def test_the_command_and_the_metrics_agree(kept: Kept) -> None:
    ask(kept.stack, "/v1/messages", "gpt-command", stream=False)
    kept.until(lambda: any(row["model"] == "gpt-command" for row in kept.sums("model")))
    kept.until(lambda: kept.sums() == [summed(kept.logged())])
    stored = scraped(kept.metrics, lambda scrape: scrape.total("extproc_usage_waiting") == 0)
    [total] = kept.usage()
    assert stored.total("extproc_usage_calls_total", result="stored") == total["calls"]
    assert stored.total("extproc_usage_calls_total", result="dropped") == 0
    rows = kept.usage("--by", "team,model", "--since", time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86400)))
    assert sum(row["cost"] for row in rows) == pytest.approx(total["cost"])
    [row] = [row for row in rows if row["model"] == "gpt-command"]
    assert (row["team"], row["calls"]) == ("data-platform", 1) and row["cost"] > 0


def test_sums_are_those_of_the_log_though_clients_leave_and_a_worker_is_killed(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with keeping(tmp_path_factory.mktemp("killed"), IN_SQLITE) as kept:
        stack = kept.stack

        killed = threading.Event()

        def leaves() -> None:
            """After the kill, unless the stream broke by then."""
            with (
                contextlib.suppress(httpx.HTTPError),
                streaming(stack, f"demo: say {'word ' * 400}\ndemo: slow 50") as answer,
            ):
                for _ in events(answer):
                    if killed.is_set():
                        return

        with ThreadPoolExecutor(12) as pool:
            running: list[Future[Any]] = [pool.submit(leaves) for _ in range(8)]
            scraped(kept.metrics, lambda scrape: scrape.total("extproc_streams_in_flight") == 8)
            running += [pool.submit(call, stack) for call in MIXED]
            kill_one_of_two(stack)
            killed.set()
            for one in running:
                with contextlib.suppress(httpx.HTTPError, AssertionError):
                    one.result(SECONDS)
        until_it_works(stack)
    calls = kept.logged()
    assert {"ClientClosed", "Internal", "Truncated", "Upstream"} <= {call.reason for call in calls}
    assert any(call.estimated and call.cost for call in calls)
    assert kept.sums() == [summed(calls)]
    # The gateway has ended, and the command goes on.
    [total] = kept.usage()
    assert total["calls"] == len(calls) and total["cost"] == pytest.approx(summed(calls)["cost"] / 1e9)


def kill_one_of_two(stack: Stack) -> None:
    first, *_ = sorted(pid for pid, command in children(stack.process.pid).items() if ".transport.worker" in command)
    os.kill(first, 9)


def test_workers_report_calls_where_another_process_has_the_log(model: Model) -> None:
    """What a killed worker has not finished is lost to the ledger, and nothing else."""
    with configured(model.url, GATEWAY + PRICED + IN_SQLITE) as setup:
        address = f"unix:{setup.folder}/extproc.sock"
        with bare_envoy(setup, [f"{address}"], healthy=0) as stack, processor(setup, address) as (process, _):
            served = Stack(stack.url, stack.folder, process, stack.out, stack.err)
            kept = Kept(stack, {**setup.environ, **dict(os.environ)}, "")
            until_it_works(served)
            ask(stack, "/v1/chat/completions", "gpt-whole", stream=False)
            with streaming(stack, f"demo: say {'word ' * 300}\ndemo: slow 200", model="gpt-cut") as answer:
                said = events(answer)
                next(said)
                kill_worker(served)
                with contextlib.suppress(httpx.HTTPError):
                    list(said)
            until_it_works(served)
            ask(stack, "/v1/responses", "gpt-after", stream=True)
        lines = [call for call in kept.logged() if call.model in ("gpt-whole", "gpt-cut", "gpt-after")]
        assert {call.model: bool(call.reason) for call in lines} == {
            "gpt-whole": False, "gpt-cut": True, "gpt-after": False,
        }  # fmt: skip
        found = {row["model"]: row for row in kept.sums("model")}
        assert "gpt-cut" not in found
        for call in lines:
            if call.model != "gpt-cut":
                row = found[call.model]
                assert (row["calls"], row["input_tokens"], row["cost"]) == (1, call.input_tokens, call.cost)


def test_calls_go_on_while_the_database_is_down(
    tmp_path_factory: pytest.TempPathFactory, database: PostgreSqlServer
) -> None:
    """At the start, and later."""
    database.stop()
    environ = {"PG_URL": database.url, "PG_PASSWORD": PASSWORD}
    with keeping(tmp_path_factory.mktemp("postgresql"), IN_POSTGRESQL, **environ) as kept:
        ask(kept.stack, "/v1/messages", "gpt-early", stream=False)
        kept.stack.err.first(lambda line: "the ledger cannot be used" in line or None)
        scraped(kept.metrics, lambda scrape: scrape.total("extproc_usage_waiting") == 1)
        database.start()
        kept.stack.err.first(lambda line: "the ledger can be used again" in line or None)
        kept.until(lambda: kept.sums("model")[0]["model"] == "gpt-early")
        database.stop()
        for number in range(5):
            ask(kept.stack, "/v1/chat/completions", f"gpt-{number}", stream=True)
        kept.stack.err.nth(2, lambda line: "the ledger cannot be used" in line or None)
        database.start()
        kept.until(lambda: len(kept.sums("model")) == 6)
        assert kept.sums() == [summed(kept.logged())]
        assert PASSWORD not in kept.stack.printed
        [total] = kept.usage()
        assert total["calls"] == 6
