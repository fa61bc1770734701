"""The draw by weight: fair, the same for the same seed, and steady when a candidate joins or leaves."""

from collections import Counter

import pytest

from extproc.config.schema_models import Model
from extproc.providers import pools
from extproc.providers.pools import Draw, Pool

SEEDS = [f"seed-{number}" for number in range(4000)]


def pool(**weights: int) -> Pool:
    listed = [{"provider": name, "weight": weight} for name, weight in weights.items()]
    return pools.of_model(("models", 0), Model.model_validate({"name": "m", "providers": [listed]}))


def draw(**weights: int) -> list[Draw]:
    return list(pool(**weights).lists[0])


def names(entries: list[Draw], seed: str) -> list[str]:
    return [one.provider for one in pools.order(entries, seed)]


def test_each_is_drawn_once() -> None:
    assert all(sorted(names(draw(a=80, b=20, c=1), seed)) == ["a", "b", "c"] for seed in SEEDS[:200])


def test_the_same_seed_gives_the_same_order() -> None:
    assert all(names(draw(a=1, b=1, c=1), seed) == names(draw(a=1, b=1, c=1), seed) for seed in SEEDS[:50])


@pytest.mark.parametrize("weights", [{"a": 80, "b": 20}, {"a": 1, "b": 1, "c": 2}, {"a": 1_000_000, "b": 1}])
def test_shares_are_those_of_the_weights(weights: dict[str, int]) -> None:
    entries = draw(**weights)
    first = Counter(names(entries, seed)[0] for seed in SEEDS)
    for name, weight in weights.items():
        assert first[name] / len(SEEDS) == pytest.approx(weight / sum(weights.values()), abs=0.025)


def test_the_second_draw_is_by_weight_too() -> None:
    entries = draw(a=6, b=3, c=1)
    orders = [names(entries, seed) for seed in SEEDS]
    second = Counter(order[1] for order in orders if order[0] == "a")
    assert second["b"] / second.total() == pytest.approx(3 / 4, abs=0.03)


def test_one_that_leaves_moves_only_its_own_calls() -> None:
    for seed in SEEDS[:500]:
        assert [one for one in names(draw(a=3, b=2, c=1), seed) if one != "b"] == names(draw(a=3, c=1), seed)


def test_one_that_joins_takes_its_share_alone() -> None:
    moved = [seed for seed in SEEDS if names(draw(a=1, b=1), seed)[0] != names(draw(a=1, b=1, c=1), seed)[0]]
    assert len(moved) / len(SEEDS) == pytest.approx(1 / 3, abs=0.025)
    assert {names(draw(a=1, b=1, c=1), seed)[0] for seed in moved} == {"c"}


def test_entries_keep_their_order() -> None:
    listed = [{"provider": "x"}, [{"provider": "a"}, {"provider": "b"}], {"provider": "y"}]
    entries = list(pools.of_model((), Model.model_validate({"name": "m", "providers": listed})).lists[0])
    for seed in SEEDS[:50]:
        found = names(entries, seed)
        assert (found[0], sorted(found[1:3]), found[3]) == ("x", ["a", "b"], "y")


def test_a_candidate_is_as_the_model_says_unless_it_says_otherwise() -> None:
    model = Model.model_validate(
        {
            "name": "m",
            "max_output_tokens": 10,
            "defaults": {"temperature": 1, "top_p": 1},
            "providers": [
                {"provider": "a"},
                {"provider": "b", "model": "other", "max_output_tokens": 5, "defaults": {"top_p": 0.5}},
            ],
        }
    )
    first, second = pools.of_model(("models", 0), model)
    assert (first.settings.provider, first.settings.model, first.settings.max_output_tokens) == ("a", None, 10)
    assert (second.settings.provider, second.settings.model, second.settings.max_output_tokens) == ("b", "other", 5)
    assert second.settings.defaults == {"temperature": 1, "top_p": 0.5} and second.settings.providers is None
    assert (first.number, second.number, second.where) == (1, 2, ("models", 0, "providers", 1))
