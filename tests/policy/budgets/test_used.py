"""What a call has used, by its record and by its line in the log."""

import json

from hypothesis import given
from hypothesis import strategies as st

from extproc.events import Record
from extproc.policy.budgets.limits import account
from extproc.policy.budgets.used import BUDGETS, MAX_BUDGETS, Used, budgets_of, charge, charge_by_log, of_budgets

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x1f"), max_size=30)


@given(st.lists(st.tuples(NAMES, NAMES), max_size=6, unique=True))
def test_budgets_go_on_record_and_come_back(pairs: list[tuple[str, str]]) -> None:
    record = of_budgets(account(name, measure, key) for name, key in pairs for measure in ("usd", "tokens"))
    assert all(text.isascii() and text.isprintable() for text in map(str, record.values()))
    assert list(budgets_of(json.loads(json.dumps(record)))) == pairs


def test_a_call_without_budgets_has_none_on_record() -> None:
    assert of_budgets([]) == {}


def test_more_budgets_than_a_line_holds_are_left_out() -> None:
    assert of_budgets(account("b", "usd", "k" * 200) for _ in range(20)) == {BUDGETS: f'[["b","{"k" * 200}"]]'}
    keys = ["\N{GRINNING FACE}" * 200, *(f"{number:0200}" for number in range(20))]
    record = of_budgets(account(f"b{number}", "usd", key) for number, key in enumerate([*keys, "ann"]))
    assert len(str(record[BUDGETS])) <= MAX_BUDGETS
    assert budgets_of(record) == [*((f"b{number + 1}", f"{number:0200}") for number in range(9)), ("b21", "ann")]


USAGE: Record = {
    "gen_ai.request.stream": False,
    "gen_ai.usage.input_tokens": 7,
    "gen_ai.usage.output_tokens": 3,
    "gen_ai.usage.cost": 0.000_001,
    "attempts.output_tokens": 2,
}


def test_the_log_says_what_the_record_says() -> None:
    assert charge({**USAGE, "verdict": "allow", "cluster": "p"}) == charge_by_log(USAGE) == Used(1000, 7, 5, 1)
    handed_over: Record = {"verdict": "allow", "cluster": "attempts"}
    assert charge(handed_over) == charge_by_log({}) == Used()
    passed: Record = {"gen_ai.operation.name": "passthrough"}
    assert charge({**passed, "verdict": "allow", "cluster": "p"}) == charge_by_log(passed) == Used(requests=1)
