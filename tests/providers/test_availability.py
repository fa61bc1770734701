"""The rule that leaves providers out for a while, with a clock that the tests set."""

import math
from typing import Any

import pytest

from extproc.config.schema_providers import Outliers
from extproc.providers.availability import (
    MAX_RETRY_AFTER_SECONDS,
    AttemptOutcome,
    Availability,
    AvailabilityUpdate,
    CoolDowns,
    OutcomeSummary,
    ProviderState,
)

START = 1_764_470_000.0
AVAILABLE = ProviderState("available")
DRAINED = ProviderState("drained")


class Scene:
    """One provider, `a`, and another one, `b`, that nothing happens to."""

    def __init__(self, **outliers: Any) -> None:
        self.settings = Outliers(**outliers)
        self.rule = CoolDowns()
        self.rule.use({"a": self.settings, "b": Outliers()})
        self.now = START

    def after(self, seconds: float) -> "Scene":
        self.now += seconds
        return self

    def fails(self, times: int = 1) -> "Scene":
        for _ in range(times):
            self.rule.report(OutcomeSummary("a", failures=1), self.now)
        return self

    def answers(self) -> "Scene":
        self.rule.report(OutcomeSummary("a", answered=True), self.now)
        return self

    def limits(self, seconds: float) -> "Scene":
        self.rule.report(OutcomeSummary("a", retry_after=seconds), self.now)
        return self

    @property
    def left(self) -> float:
        """Seconds for which it is still left out."""
        assert "b" not in self.rule.update().until
        return max(0.0, self.rule.update().until.get("a", 0.0) - self.now)

    @property
    def state(self) -> ProviderState:
        found = self.rule.states(self.now)
        assert found["b"] == AVAILABLE
        return found["a"]


def test_so_many_failures_in_a_row_leave_a_provider_out() -> None:
    scene = Scene().fails(4)
    assert (scene.left, scene.state) == (0, AVAILABLE)
    scene.fails()
    assert (scene.left, scene.state) == (30, ProviderState("cooling down", START + 30, "failures"))


def test_the_configuration_sets_number_and_pause() -> None:
    assert Scene(failures=1, pause=2.5).fails().left == 2.5


def test_failures_that_arrive_together_count_each() -> None:
    scene = Scene()
    scene.rule.report(OutcomeSummary("a", failures=5), scene.now)
    assert scene.left == 30


def test_an_answer_begins_the_row_anew() -> None:
    assert Scene().fails(4).answers().fails(4).left == 0
    scene = Scene().fails(4)
    scene.rule.report(OutcomeSummary("a", failures=4, answered=True), scene.now)
    assert scene.left == 0 and scene.fails().left == 30


def test_it_is_back_exactly_when_the_pause_ends() -> None:
    scene = Scene().fails(5).after(29.999)
    assert scene.state.state == "cooling down"
    assert scene.after(0.001).state == AVAILABLE and scene.left == 0


def test_one_further_failure_leaves_it_out_again_for_longer() -> None:
    scene, pauses = Scene().fails(5), [30.0]
    for _ in range(6):
        scene.after(pauses[-1]).fails()
        pauses.append(scene.left)
    assert pauses == [30, 60, 120, 240, 300, 300, 300]


def test_an_answer_after_the_pause_forgets_all_of_it() -> None:
    scene = Scene().fails(5).after(30).fails().after(60).answers().fails(4)
    assert scene.left == 0
    assert scene.fails().left == 30


def test_what_ends_during_the_pause_says_nothing() -> None:
    """These attempts began before it, or found no other provider."""
    scene = Scene().fails(5).after(10).fails(7).answers()
    assert scene.left == 20
    assert scene.after(20).fails().left == 60


def test_it_is_left_out_for_as_long_as_it_asks() -> None:
    scene = Scene().limits(60)
    assert scene.state == ProviderState("cooling down", START + 60, "retry_after")
    assert scene.after(60).state == AVAILABLE
    # That was no failure.
    assert scene.fails(4).left == 0


def test_the_longest_of_several_waits_counts() -> None:
    assert Scene().limits(60).limits(10).left == 60
    assert Scene().limits(10).limits(60).left == 60
    assert Scene().limits(60).fails(5).left == 60
    assert Scene().fails(5).limits(60).state == ProviderState("cooling down", START + 60, "retry_after")


def test_a_rate_limit_interrupts_no_row_of_failures() -> None:
    assert Scene().fails(4).limits(1).after(1).fails().left == 30


def test_by_hand() -> None:
    scene = Scene()
    scene.rule.drain("a")
    assert (scene.left, scene.after(1e9).state) == (math.inf, DRAINED)
    scene.answers().fails(5)
    assert scene.state == DRAINED
    scene.rule.resume("a")
    assert (scene.left, scene.state) == (0, AVAILABLE)


def test_resume_ends_a_pause_too() -> None:
    scene = Scene().fails(5)
    scene.rule.resume("a")
    assert scene.state == AVAILABLE and scene.fails(4).left == 0


def test_an_unknown_name_is_an_error_by_hand_and_nothing_in_a_report() -> None:
    rule = CoolDowns()
    rule.report(OutcomeSummary("a", failures=9), START)
    assert rule.update() == AvailabilityUpdate({}, [])
    for by_hand in (rule.drain, rule.resume):
        with pytest.raises(KeyError):
            by_hand("a")


def test_names_that_vanish_are_forgotten_and_others_stay() -> None:
    scene = Scene().fails(5)
    scene.rule.drain("b")
    scene.rule.use({"a": Outliers(pause=7)})
    assert scene.rule.update().until == {"a": START + 30}
    assert scene.after(30).fails().left == 14
    scene.rule.use({"b": Outliers()})
    assert scene.rule.states(scene.now) == {"b": AVAILABLE}


def test_how_often_each_was_left_out_and_why() -> None:
    scene = Scene().fails(5).fails(5).limits(90).limits(91).after(91).limits(1)
    scene.rule.drain("a")
    scene.rule.drain("a")
    counts = scene.rule.times_left_out()
    assert counts["a"] == {"failures": 1, "retry_after": 1, "drained": 1}
    assert counts["b"] == {"failures": 0, "retry_after": 0, "drained": 0}


def test_workers_report_answers_of_providers_under_suspicion_only() -> None:
    scene = Scene()
    assert scene.rule.update().suspects == []
    assert scene.fails().rule.update().suspects == ["a"]
    assert scene.answers().rule.update().suspects == []
    # After the pause as well, when an answer forgets that there was one.
    assert scene.fails(5).after(60).rule.update().suspects == ["a"]
    assert scene.answers().rule.update() == AvailabilityUpdate({}, [])


class Worker:
    def __init__(self) -> None:
        self.woken = 0
        self.knows = Availability(self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def ends(self, *kinds: Any, after: float | None = None) -> "Worker":
        for kind in kinds:
            self.knows.report(AttemptOutcome("a", kind, after))
        return self

    @property
    def sent(self) -> list[OutcomeSummary]:
        found = []
        while (summary := self.knows.next_report()) is not None:
            found.append(summary)
        return found


def test_an_answer_costs_nothing_while_all_is_well() -> None:
    worker = Worker().ends("answered", "answered")
    assert (worker.woken, worker.sent) == (0, [])


def test_outcomes_are_summed_up_until_they_are_sent() -> None:
    worker = Worker().ends("failed", "failed", "answered", "failed")
    worker.knows.report(AttemptOutcome("b", "limited", 3))
    worker.ends("limited", after=60).ends("limited", after=2)
    assert worker.woken == 1
    assert worker.sent == [OutcomeSummary("a", 1, True, 60), OutcomeSummary("b", 0, False, 3)]
    assert worker.ends("failed").woken == 2


def test_answers_are_reported_under_suspicion() -> None:
    worker = Worker()
    worker.knows.replace(AvailabilityUpdate({}, ["a"]))
    assert worker.ends("answered").sent == [OutcomeSummary("a", answered=True)]
    worker.knows.replace(AvailabilityUpdate({}, []))
    assert worker.ends("answered").sent == []


@pytest.mark.parametrize("after", [None, 0.0, -5.0, math.nan])
def test_a_rate_limit_without_a_time_is_no_report(after: float | None) -> None:
    worker = Worker().ends("limited", after=after)
    assert (worker.woken, worker.sent) == (0, [])


@pytest.mark.parametrize("after", [1e9, math.inf])
def test_a_provider_may_not_ask_to_be_left_out_for_ever(after: float) -> None:
    assert Worker().ends("limited", after=after).sent == [OutcomeSummary("a", retry_after=MAX_RETRY_AFTER_SECONDS)]


def test_until_when_a_provider_is_left_out() -> None:
    knows = Availability()
    assert knows.until("a") == 0.0
    knows.replace(AvailabilityUpdate({"a": START, "b": math.inf}, []))
    assert (knows.until("a"), knows.until("b"), knows.until("c")) == (START, math.inf, 0.0)
    knows.replace(AvailabilityUpdate({}, []))
    assert knows.until("a") == 0.0
