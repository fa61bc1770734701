from pathlib import Path

import pytest

from extproc.sign_in import console_access
from extproc.sign_in.console_access import LINK_SECONDS, ConsoleLinks
from tests.settings import GATEWAY, faults, source

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("section", "where", "said"),
    [
        ("{allow: ['jwt.']}", "console.allow.0", ""),
        ("{allow: ['model == \"x\"']}", "console.allow.0", "only `jwt`"),
        ("{allow: ['caller.kind == \"jwt\"']}", "console.allow.0", "only `jwt`"),
        ("{allow: [1]}", "console.allow.0", ""),
        ("{deny: []}", "console.deny", "unknown key"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, section: str, where: str, said: str) -> None:
    [fault] = faults(tmp_path, f"{GATEWAY}\nconsole: {section}\n")
    assert where in fault and said in fault


def test_a_console_that_nobody_could_open(tmp_path: Path) -> None:
    [fault] = faults(tmp_path, f"{GATEWAY}\nlisten: {{address: 0.0.0.0}}\nconsole: {{}}\n")
    assert "it needs `sign_in`" in fault


def test_a_console_has_a_ledger(tmp_path: Path) -> None:
    assert source(tmp_path, f"{GATEWAY}\nconsole: {{}}\n").config.usage is not None
    assert source(tmp_path, GATEWAY).config.usage is None


def test_without_rules_nobody_sees_everybodys_calls(tmp_path: Path) -> None:
    assert not console_access.allows([], {"sub": "ann"})
    rules = console_access.load(source(tmp_path, f"{GATEWAY}\nconsole: {{allow: ['\"ops\" in jwt.groups']}}\n"), [])
    assert console_access.allows(rules, {"groups": ["ops"]})
    assert not console_access.allows(rules, {"groups": ["dev"]}) and not console_access.allows(rules, {})


def test_a_link_counts_for_an_hour() -> None:
    links = ConsoleLinks("key")
    link = links.make(NOW)
    assert links.seconds_left(link, NOW) == LINK_SECONDS
    assert links.seconds_left(link, NOW + LINK_SECONDS - 1) == 1
    assert links.seconds_left(link, NOW + LINK_SECONDS) == 0


def test_links_that_somebody_else_made() -> None:
    links = ConsoleLinks("key")
    until, secret, tag = links.make(NOW).split(".")
    forged = [
        ConsoleLinks("other").make(NOW), f"{int(until) + 1}.{secret}.{tag}", f"{until}.x.{tag}", f"{until}.{secret}.",
        "", ".", "..", "x.y.z", "é.é.é",
    ]  # fmt: skip
    assert [links.seconds_left(one, NOW) for one in forged] == [0] * len(forged)


@pytest.mark.parametrize(
    ("listen", "begin"),
    [
        ("{port: 8080}", "http://127.0.0.1:8080/console/open?key="),
        ("{address: '::1', port: 1}", "http://[::1]:1/console/open?key="),
        ("{address: 192.0.2.1}", ""),
    ],
)
def test_a_link_is_for_a_listener_on_loopback(tmp_path: Path, listen: str, begin: str) -> None:
    found = source(tmp_path, f"{GATEWAY}\nlisten: {listen}\nconsole: {{}}\n")
    url, environ = console_access.new_link(found, NOW)
    assert url.startswith(begin) and bool(environ) == bool(begin) == bool(url)
    assert all(key not in url for key in environ.values())


def test_no_console_no_link(tmp_path: Path) -> None:
    assert console_access.new_link(source(tmp_path, GATEWAY), NOW) == ("", {})
