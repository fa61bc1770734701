"""Rules that judge calls of tools: the first that holds decides, and what cannot be told is never allowed."""

import re
from pathlib import Path
from typing import Any

import pytest

from extproc.config.faults import Fault
from extproc.config.schema_auto_mode import AutoMode as Settings
from extproc.events import Verdict, VerdictOutcome
from extproc.policy.authorization.variables import Subject
from extproc.policy.auto_mode import NOT_ALLOWED, RULE_VARIABLES, AutoMode
from extproc.policy.facts import Caller, Identified, Request
from extproc.wire.safeguards import Question, ToolCall
from tests.settings import GATEWAY, faults, gateway

LS = ToolCall("a", "Bash", {"command": "ls", "n": 3})
READ = ToolCall("b", "Read", {"file_path": "/etc/passwd"})
QUESTION = Question("/work", ())


def policy(*rules: dict[str, str], **more: Any) -> AutoMode:
    found: list[Fault] = []
    made = AutoMode(Settings.model_validate({"rules": rules, **more}), found)
    assert not found
    return made


def decided(folder: Path, *rules: dict[str, str], call: ToolCall = LS) -> Verdict | None:
    gate = gateway(folder)
    caller = Caller({"sub": "alice", "groups": ["dev"]})
    subject = Subject(Identified(request=Request(started=0.0), caller=caller), gate.catalogue.resolve("claude-x"))
    [verdict] = policy(*rules).by_rule(subject, QUESTION, [call])
    return verdict


def allow(when: str) -> dict[str, str]:
    return {"when": when, "outcome": "allow"}


def deny(when: str, **more: str) -> dict[str, str]:
    return {"when": when, "outcome": "deny", **more}


def test_the_first_rule_that_holds_decides(tmp_path: Path) -> None:
    rules = (deny("tool.name == 'Read'"), allow("tool.input.command == 'ls'"), deny("true", explanation="never"))
    assert decided(tmp_path, *rules) == Verdict(VerdictOutcome.ALLOW, "", "auto_mode.rules.1")
    assert decided(tmp_path, *rules, call=READ) == Verdict(VerdictOutcome.DENY, NOT_ALLOWED, "auto_mode.rules.0")
    other = ToolCall("c", "Bash", {"command": "pwd"})
    assert decided(tmp_path, *rules, call=other) == Verdict(VerdictOutcome.DENY, "never", "auto_mode.rules.2")


@pytest.mark.parametrize(
    "when",
    [
        "cwd == '/work'",
        "model == 'claude-x' && upstream_model == 'gpt-4o-mini'",
        "'dev' in jwt.groups && caller.id == 'alice'",
        "has(tool.input.command) && tool.input.n == 3",
        "tool.input.command.matches('^ls')",
    ],
)
def test_what_rules_can_read(tmp_path: Path, when: str) -> None:
    verdict = decided(tmp_path, allow(when))
    assert verdict is not None and verdict.outcome is VerdictOutcome.ALLOW


def test_what_no_rule_decides(tmp_path: Path) -> None:
    assert decided(tmp_path, allow("tool.name == 'Bash'"), call=READ) is None


def test_an_allowing_rule_that_fails_does_not_hold(tmp_path: Path) -> None:
    assert decided(tmp_path, allow("tool.input.command == 'ls'"), call=READ) is None


def test_after_a_denying_rule_that_fails_nothing_is_allowed(tmp_path: Path) -> None:
    rules = (deny("tool.input.command == 'rm'"), allow("true"))
    assert decided(tmp_path, *rules, call=READ) == Verdict(VerdictOutcome.UNAVAILABLE, "error", "auto_mode.rules.0")


def test_arguments_that_nobody_can_read_are_not_allowed(tmp_path: Path) -> None:
    unread = ToolCall("a", "Bash", None)
    assert decided(tmp_path, allow("true"), call=unread) == Verdict(VerdictOutcome.UNAVAILABLE, "input_unparsed")


def test_a_value_that_cel_cannot_hold_is_not_allowed(tmp_path: Path) -> None:
    odd = ToolCall("a", "Bash", {"command": 2**80})
    verdict = decided(tmp_path, deny("tool.input.command == 1"), allow("true"), call=odd)
    assert verdict is not None and verdict.outcome is VerdictOutcome.UNAVAILABLE


@pytest.mark.parametrize(
    ("otherwise", "judged", "expected"),
    [
        ("unavailable", None, VerdictOutcome.UNAVAILABLE),
        ("unavailable", VerdictOutcome.UNAVAILABLE, VerdictOutcome.UNAVAILABLE),
        ("unavailable", VerdictOutcome.ALLOW, VerdictOutcome.ALLOW),
        ("deny", None, VerdictOutcome.DENY),
        ("deny", VerdictOutcome.UNAVAILABLE, VerdictOutcome.DENY),
        ("deny", VerdictOutcome.ALLOW, VerdictOutcome.ALLOW),
    ],
)
def test_what_nobody_has_judged(otherwise: str, judged: VerdictOutcome | None, expected: VerdictOutcome) -> None:
    made = policy(allow("false"), otherwise=otherwise)
    assert made.judged_or_otherwise(None if judged is None else Verdict(judged)).outcome is expected


AUTO_MODE = GATEWAY + "\nauto_mode:\n  rules:\n    - {when: 'true', outcome: allow}\n    - "


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{when: 'tool.nam == 1', outcome: deny}", "auto_mode.rules.1.when: not a valid CEL expression"),
        ("{when: 'llm.stream', outcome: deny}", "auto_mode.rules.1.when: not a valid CEL expression"),
        ("{when: 'tool.name', outcome: deny}", "auto_mode.rules.1.when: the expression gives STRING, expected bool"),
        ("{when: 'has(cwd)', outcome: deny}", "auto_mode.rules.1.when: not a valid CEL"),
        ("{when: 'has(tool.name)', outcome: deny}", "auto_mode.rules.1.when: has() is for a member of a map"),
        ("{when: 'true', outcome: ask}", "auto_mode.rules.1.outcome: "),
        ("{when: 'true', outcome: allow, explanation: x}", "auto_mode.rules.1: explanation: only for `outcome: deny`"),
        ("{outcome: deny}", "auto_mode.rules.1.when: this key is required"),
        ("{wen: 'true', outcome: deny}", "auto_mode.rules.1.wen: unknown key; did you mean 'when'?"),
    ],
)
def test_a_wrong_rule_is_a_fault_with_its_line(tmp_path: Path, text: str, fault: str) -> None:
    line = AUTO_MODE.count("\n") + 1
    assert any(one.startswith(f"{line}: {fault}") for one in faults(tmp_path, AUTO_MODE + text)), faults(
        tmp_path, AUTO_MODE + text
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("auto_mode: {}", "auto_mode: auto_mode needs rules, a judge, or both"),
        ("auto_mode: {judge: {model: gpt-9}}", "auto_mode.judge.model: no model of `models` answers to 'gpt-9'"),
        ("auto_mode: {judge: {model: claude-x, socket: x.sock}}", "auto_mode.judge.socket: expected an absolute path"),
        ("auto_mode: {judge: {model: claude-x, timeout: 0}}", "auto_mode.judge.timeout: "),
        ("auto_mode: {judge: {model: claude-x}, otherwise: allow}", "auto_mode.otherwise: "),
    ],
)
def test_a_wrong_section_is_a_fault(tmp_path: Path, text: str, fault: str) -> None:
    assert any(fault in one for one in faults(tmp_path, f"{GATEWAY}\n{text}"))


def test_claims_that_only_these_rules_read_are_kept_of_a_token() -> None:
    made = policy(allow("jwt.team == 'x'"), deny("'y' in jwt.groups"))
    assert made.claims() == frozenset({"team", "groups"})
    assert policy(allow("size(jwt) > 1")).claims() is None


PAGE = (Path(__file__).resolve().parents[2] / "docs" / "auto-mode.md").read_text("utf-8")


def test_the_example_of_the_page(tmp_path: Path) -> None:
    [example] = re.findall(r"```yaml\n(auto_mode:.*?)```", PAGE, re.DOTALL)
    assert faults(tmp_path, f"{GATEWAY}\n{example}") == []


def test_the_page_names_every_variable() -> None:
    assert not [one.name for one in RULE_VARIABLES if f"`{one.name}`" not in PAGE]
