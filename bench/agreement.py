"""Whether budgets, the log and the ledger agree on what calls have used, and where they do not, about which calls.

Budgets and log are compared call by call: a budget whose key is Envoy's id of the request has an account for each call.
A call that was in progress in a worker that was killed, or had ended just before, is charged to nobody; its line of the
log may have an estimate.
"""

import contextlib
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from bench.stack import Stack
from extproc.config import loading
from extproc.policy.budgets.budgets import SEPARATOR
from extproc.store.overrides import COUNTERS
from extproc.usage.calls import NANO, Call, Fields, call_of, is_kept
from extproc.usage.opening import open_ledger

CONFIG = """
usage: {}
prices: {overrides: [{model: "gpt-*", input: 0.15, output: 0.6}]}
budgets:
  - {name: month, key: jwt.sub, limit: {usd: 100000, tokens: 100000000000, requests: 1000000000}, per: month}
  - {name: at-once, key: jwt.sub, limit: {concurrent: 10000}}
  - {name: tight, key: 'jwt.sub == "frugal" ? jwt.sub : null', limit: {usd: 0.002, tokens: 6000}, per: minute}
  - name: call
    key: request.headers["x-request-id"]
    limit: {usd: 1000, tokens: 100000000, requests: 1000}
    per: minute
"""
"""Sections of gateway.yaml. `tight`: what a caller named frugal may use up, so that slices run out and calls are
refused."""
PER_CALL, OF_ALL = "call", "month"
MEASURES = ("requests", "tokens", "usd")
SETTLING_SECONDS = 1.0
"""Between the end of a call and its settlement, on a machine that is busy."""
WAIT_SECONDS = 30.0
_MAX_SHOWN = 5

Amounts = Counter[str]
"""By measure; USD in billionths."""


def compared(folder: Path, kills: Sequence[float]) -> str:
    """Returns what is to be printed, once all is stored. `kills`: Unix seconds at which a worker was killed."""
    environ = {"HOME": str(folder)}
    ledger = open_ledger(loading.load(folder / "gateway.yaml", environ), environ)
    deadline = time.monotonic() + WAIT_SECONDS
    try:
        while True:
            lines = [json.loads(line) for line in (folder / "log").read_text().splitlines() if line.startswith("{")]
            [row] = ledger.sums([])
            found = Comparison(lines, _charged(folder), row, kills)
            if found.agree or time.monotonic() > deadline:
                return str(found)
            time.sleep(0.5)
    finally:
        ledger.close()


def in_progress(stack: Stack) -> int:
    """Returns how many calls of the caller count as in progress, by the gateway itself."""
    headers = {"authorization": f"Bearer {stack.token}"}
    answer = httpx.get(f"http://127.0.0.1:{stack.port}/v1/usage", headers=headers).raise_for_status()
    return sum(int(one["used"]) for one in answer.json()["budgets"] if one["measure"] == "concurrent")


def _charged(folder: Path) -> dict[tuple[str, str], Amounts]:
    """Returns what was charged, by budget and key. Buckets that count no more are in the file until the next start."""
    found: dict[tuple[str, str], Amounts] = {}
    with contextlib.closing(sqlite3.connect(folder / "state" / COUNTERS)) as db:
        for account, used in db.execute("SELECT account, sum(used) FROM used GROUP BY account"):
            budget, measure, key = account.split(SEPARATOR)
            found.setdefault((budget, key), Counter())[measure] = used
    return found


class Comparison:
    def __init__(
        self,
        lines: Iterable[Fields],
        charged: dict[tuple[str, str], Amounts],
        ledger: dict[str, Any],
        kills: Sequence[float],
    ) -> None:
        """`lines`: of the log; `charged`: by budget and key; `ledger`: its sums."""
        self.charged = _total(one for (budget, _), one in charged.items() if budget == OF_ALL)
        self.per_call = _total(one for (budget, _), one in charged.items() if budget == PER_CALL)
        self.logged: Amounts = Counter()
        self.lost: Amounts = Counter()
        """On record of calls whose worker was killed."""
        self.lost_calls = 0
        self.different: list[str] = []
        calls = []
        for line in lines:
            if not is_kept(line):
                continue
            calls.append(call_of(line, ""))
            own = charged.get((PER_CALL, line.get("x-request-id", "")), Counter())
            on_record = _amounts(line, calls[-1])
            if not line.get("http.status"):  # the client left so early that the log does not say whether it was sent
                on_record["requests"] = own["requests"]
                on_record = +on_record
            self.logged += on_record
            if on_record == own:
                continue
            if not own and _was_killed(line, kills):
                self.lost += on_record
                self.lost_calls += 1
            else:
                shown = line.get("request_id"), line.get("reason"), line.get("http.status")
                self.different.append(f"{shown}: on record {dict(on_record)}, charged {dict(own)}")
        self.in_log = _sums(calls)
        self.in_ledger = [ledger["calls"], ledger["input_tokens"] + ledger["output_tokens"], ledger["cost"]]

    @property
    def differences(self) -> Amounts:
        """Between log and budgets, apart from calls of killed workers."""
        return Counter({name: self.logged[name] - self.lost[name] - self.charged[name] for name in MEASURES})

    @property
    def agree(self) -> bool:
        same = self.charged == self.per_call and not any(self.differences.values())
        return same and not self.different and self.in_log == self.in_ledger

    def __str__(self) -> str:
        heads = "", "on record", "of killed workers' calls", "charged", "difference"
        rows = [heads] + [
            (name, *(_shown(name, one[name]) for one in (self.logged, self.lost, self.charged, self.differences)))
            for name in MEASURES
        ]
        told = [" ".join(f"{cell:>25}" for cell in row) for row in rows]
        told.append(f"{self.lost_calls} calls were in progress in a worker that was killed")
        told.append(f"calls, tokens and billionths of a USD: log {self.in_log}, ledger {self.in_ledger}")
        told += [f"DIFFERENT: {one}" for one in self.different[:_MAX_SHOWN]]
        if self.charged != self.per_call:
            told.append(f"BUDGETS DIFFER: {dict(self.charged)} by caller, {dict(self.per_call)} by call")
        return "\n".join([*told, f"budgets, log and ledger {'agree' if self.agree else 'DIFFER'}"])


def _total(amounts: Iterable[Amounts]) -> Amounts:
    return sum(amounts, Counter())


def _sums(calls: Sequence[Call]) -> list[int]:
    tokens = sum((call.input_tokens or 0) + (call.output_tokens or 0) for call in calls)
    return [len(calls), tokens, sum(call.cost or 0 for call in calls)]


def _amounts(line: Fields, call: Call) -> Amounts:
    """What is on record of a call. One that was not sent to a provider is no request."""
    was_sent = "gen_ai.request.stream" in line or call.operation == "passthrough"
    tokens = (call.input_tokens or 0) + (call.output_tokens or 0)
    return +Counter(requests=int(was_sent), tokens=tokens, usd=call.cost or 0)


def _was_killed(line: Fields, kills: Sequence[float]) -> bool:
    """Whether a worker was killed while the call was in progress, or before it was settled."""
    began = datetime.fromisoformat(line["time"]).timestamp()
    return any(began <= kill <= began + line["duration"] / 1000 + SETTLING_SECONDS for kill in kills)


def _shown(measure: str, amount: int) -> str:
    return f"{amount / NANO:.9f}" if measure == "usd" else str(amount)
