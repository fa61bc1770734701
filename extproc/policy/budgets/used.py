"""What a call has used, and of which budgets, by what is on record of it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from extproc.events import Record
from extproc.policy.budgets.limits import NANO, SEPARATOR
from extproc.wire import untrusted

_VERDICT, _ALLOWED = "verdict", "allow"
_CLUSTER, _ATTEMPTS, _SENT = "cluster", "attempts", "gen_ai.request.stream"
_OPERATION, _PASSED = "gen_ai.operation.name", "passthrough"
"""As gateway/record.py writes them: a call that may be sent, one that was handed over to attempts, one that was sent to
have its answer read, and one that passes through."""
# For each amount two fields: that of the last attempt, and the sum over earlier ones that were given up.
_COST, _INPUT, _OUTPUT = (
    (f"gen_ai.usage.{name}", f"attempts.{name}") for name in ("cost", "input_tokens", "output_tokens")
)
BUDGETS = "budget.keys"
"""A field of the log."""
MAX_BUDGETS = 2000
"""Characters of it."""
MAX_KEPT = 1024
"""Callers make many calls each, whose budgets are the same."""
_decode_budgets = untrusted.decoder(list[tuple[str, str]]).decode


class Used(NamedTuple):
    """Amounts by measure."""

    usd: int = 0
    """Billionths of a USD."""
    input_tokens: int = 0
    output_tokens: int = 0
    requests: int = 0
    concurrent: int = 0
    """0 at the end: nothing of it stays used."""

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


def charge(seen: Record) -> Used:
    """Returns what a call has used, attempts included that were given up. `seen`: all that was put on record of it."""
    if seen.get(_VERDICT) != _ALLOWED:
        return Used()  # it was sent to nobody
    return _charge(seen, was_sent=seen.get(_CLUSTER) != _ATTEMPTS or _SENT in seen)


def charge_by_log(line: Mapping[str, Any]) -> Used:
    """As `charge`, by the fields of its line in the log."""
    return _charge(line, was_sent=_SENT in line or line.get(_OPERATION) == _PASSED)


def of_budgets(accounts: Iterable[str]) -> Record:
    """Returns what goes on record of the budgets that a call counts in, each with its key. What a line of the log has
    no room for is left out."""
    text = _text_of(tuple(accounts))
    return {BUDGETS: text} if text != "[]" else {}


@lru_cache(MAX_KEPT)
def _text_of(accounts: tuple[str, ...]) -> str:
    pairs = dict.fromkeys((budget, key) for budget, _, key in (one.split(SEPARATOR, 2) for one in accounts))
    texts, room = [], MAX_BUDGETS - len("[]")
    for pair in pairs:
        text = json.dumps(pair, separators=(",", ":"))  # ASCII alone, which nothing on its way changes
        if (size := len(text) + len(",")) <= room:
            texts.append(text)
            room -= size
    return f"[{','.join(texts)}]"


def budgets_of(line: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """Returns the budgets with their keys, by the fields of a call's line in the log."""
    try:
        return _decode_budgets(line.get(BUDGETS) or "[]")
    except (msgspec.DecodeError, TypeError):
        return []


def _charge(seen: Mapping[str, Any], *, was_sent: bool) -> Used:
    return Used(round(_sum(seen, _COST) * NANO), int(_sum(seen, _INPUT)), int(_sum(seen, _OUTPUT)), int(was_sent))


def _sum(seen: Mapping[str, Any], names: Iterable[str]) -> float:
    """What is no number, or below 0, counts as 0."""
    total = 0.0
    for name in names:
        value = seen.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            total += max(0, value)
    return total
