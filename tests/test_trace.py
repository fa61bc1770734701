"""bench/trace.py follows every pair of dialects through this tree, and counts what it says it counts."""

import importlib
from pathlib import Path

import pytest

from bench.trace import DIALECTS, ROOT, Trace, measured

CALLER = """
from inner import once, twice

def outer():
    once()
    once()
    return twice()

def second():
    return once()
"""
INNER = """
def once():
    return 1

def twice():
    return once() + once()
"""


def test_every_pair_of_this_tree() -> None:
    rows = measured(ROOT)
    assert set(rows) == {(client, provider) for client in DIALECTS for provider in DIALECTS}
    for row in rows.values():
        assert row.calls > row.files > 5 and row.hops > row.returns >= 0 and row.delta > 3


def test_what_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "caller.py").write_text(CALLER)
    (tmp_path / "inner.py").write_text(INNER)
    monkeypatch.syspath_prepend(tmp_path)
    caller = importlib.import_module("caller")
    with Trace(tmp_path) as seen:
        caller.outer()
        caller.second()
    # outer and second, twice, and once five times; from each of the two functions one hop, and the second is a return.
    assert (seen.calls, seen.files, len(seen.hops), seen.returns, seen.deepest) == (8, 2, 2, 1, 3)
