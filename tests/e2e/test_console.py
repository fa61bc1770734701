"""The console through the real Envoy in a real browser: by the link of `extproc up`, and by the gateway's sign-in."""

import contextlib
import csv
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from extproc.config import loading
from extproc.usage.opening import open_ledger
from tests.e2e import signing_in
from tests.e2e.chromium import chromium
from tests.e2e.issuer import until
from tests.e2e.signing_in import Browser, Idp
from tests.e2e.stack import Model, Stack, free_port, prompt, up
from tests.e2e.test_sign_in import CONFIG as SIGN_IN
from tests.web.console.test_access import call

CONFIG = (
    SIGN_IN
    + """
prices: {overrides: [{model: "*", input: 2, output: 6}]}
console: {allow: ['"operators" in jwt.groups']}
budgets:
  - name: person-month
    key: jwt.sub
    limit: {usd: 0.0001, tokens: 1000000}
    per: month
    warn_at: 0.5
    exceeded: observe
  - {name: at-once, key: '"everybody"', limit: {concurrent: 8}}
"""
)
PAGES = ["/console", "/console?by=subject&range=24h", "/console/health", "/console/calls", "/console/call?id=seeded",
         "/console/providers", "/console/configuration", "/console/budgets", "/console/budgets?budget=person-month",
         "/console/playground", "/console?since=2001-01-01&until=2001-01-31"]  # fmt: skip
ATTEMPTS = "near 503 overloaded 0.42s 12+0 tokens; openai 529 overloaded 1.00s"
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def idp() -> Iterator[Idp]:
    with signing_in.idp() as found:
        found.user("alice", groups=["developers"])
        found.user("olivia", name="Olivia", groups=["developers", "operators"])
        yield found


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, idp: Idp, model: Model) -> Iterator[Stack]:
    """A gateway with calls of alice, of olivia and of somebody of another issuer."""
    folder, port = tmp_path_factory.mktemp("console"), free_port()
    environ = {"MODEL_URL": model.url, "OIDC_SECRET": "s"}
    config = CONFIG.replace("PORT", str(port)).replace("ISSUER", idp.url)
    with up(folder, config=config, environ=environ, port=port) as found:
        browser = Browser(f"http://localhost:{port}")
        for name in ("alice", "olivia"):
            token = signing_in.signed_in(found, browser, name)["access_token"]
            assert found.call(prompt("hello"), token=token).status_code == 200
        browser.close()
        source = loading.load(folder / "gateway.yaml", {**environ, "MODEL_KEY": "x"})
        ledger = open_ledger(source, environ)
        failed = {"reason": "Upstream", "error": "overloaded", "provider": "openai", "attempts": ATTEMPTS}
        ledger.add([call("seeded", "eve", issuer="elsewhere", cost=2_800_000, **failed)])
        until(lambda: ledger.sums([])[0]["calls"] == 3)
        ledger.close()
        yield found


@pytest.fixture(scope="module")
def link(stack: Stack) -> str:
    return stack.out.first(
        lambda line: found[0] if (found := re.search(r"http\S+/console/open\?key=\S+", line)) else None
    )


@pytest.fixture(scope="module")
def operator(link: str) -> Iterator[Page]:
    """The browser of the person at the machine, and the link that no longer counts."""
    with chromium() as page:
        page.goto(link)
        page.get_by_role("heading", name="Usage", exact=True).wait_for()
        yield page


def another(page: Page) -> Page:
    """A page that shares no cookie with this one."""
    browser = page.context.browser
    assert browser is not None
    return browser.new_context().new_page()


def sign_in(page: Page, stack: Stack, name: str) -> None:
    page.context.clear_cookies()
    page.goto(f"http://localhost:{httpx.URL(stack.url).port}/console")
    page.get_by_role("button", name="Sign in with my company account").click()
    page.locator("input[name=sub]").fill(name)
    page.get_by_role("button", name="Authorize").click()
    page.get_by_role("heading", name="Usage", exact=True).wait_for()


def test_the_link_counts_once(operator: Page, link: str) -> None:
    assert operator.url.endswith("/console")
    assert httpx.get(link, verify=False).status_code == 403
    assert operator.get_by_text("all calls").is_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_in_both_themes_and_at_phone_width(operator: Page, stack: Stack, theme: str, size: str) -> None:
    """Without a violation that axe finds, a message of the browser's, or a page that is wider than the screen."""
    messages: list[str] = []
    operator.on("console", lambda message: messages.append(message.text))
    width, height = SIZES[size]
    operator.set_viewport_size({"width": width, "height": height})
    operator.emulate_media(color_scheme="dark" if theme == "dark" else "light", reduced_motion="reduce")
    for path in PAGES:
        operator.goto(stack.url + path)
        if path == "/console/playground":
            operator.get_by_role("button", name="Try it").click()
            operator.get_by_role("heading", name="Decision").wait_for()
        found = Axe().run(operator)
        assert found.violations_count == 0, (path, found.generate_report())
        assert operator.evaluate("document.documentElement.scrollWidth") <= width, path
        dark = operator.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", dark))) < 200) == (theme == "dark"), (path, dark)
    assert messages == []


def test_a_filter_by_the_keyboard(operator: Page, stack: Stack) -> None:
    operator.goto(f"{stack.url}/console")
    operator.get_by_label("By", exact=True).focus()
    operator.keyboard.type("Person")
    operator.keyboard.press("Enter")
    operator.get_by_role("button", name="Show").press("Enter")
    operator.get_by_role("heading", name="Spend by person").wait_for()
    operator.get_by_role("link", name="eve").press("Enter")
    operator.get_by_role("link", name="Show these calls").press("Enter")
    assert operator.locator("tbody tr").count() == 1
    operator.get_by_role("link", name=re.compile("Person: eve")).press("Enter")
    assert operator.locator("tbody tr").count() == 3


def test_the_figures_are_those_of_the_command(operator: Page, stack: Stack) -> None:
    operator.goto(f"{stack.url}/console?by=subject")
    with operator.expect_download() as download:
        operator.get_by_role("link", name="CSV of By person").click()
    rows = [line.split(",") for line in Path(download.value.path()).read_text().splitlines()]
    command = [sys.executable, "-m", "extproc", "usage", "--by", "subject", "--format", "json"]
    environ = {"MODEL_URL": "http://x/v1", "MODEL_KEY": "x", "OIDC_SECRET": "s", "PATH": ""}
    told = json.loads(subprocess.check_output(command, cwd=stack.folder, env=environ, timeout=60))
    shown = {row[0]: (int(row[1]), float(row[-1])) for row in rows[1:]}
    assert shown.keys() == {"alice", "olivia", "eve"}
    assert shown == {row["subject"]: (row["calls"], round(row["cost"], 9)) for row in told}


def test_the_record_of_a_call_says_which_attempts_failed(operator: Page, stack: Stack) -> None:
    operator.goto(f"{stack.url}/console/call?id=seeded")
    rows = operator.get_by_role("table", name="Attempts").locator("tbody tr")
    assert [row.inner_text().split()[:2] for row in rows.all()] == [["1", "near"], ["2", "openai"]]
    operator.get_by_role("link", name="Try such a call").click()
    operator.get_by_role("heading", name="Playground").wait_for()
    assert "model-of-eve" in operator.get_by_label("Body of the request").input_value()


def test_budgets_are_those_of_the_command(operator: Page, stack: Stack) -> None:
    command = [sys.executable, "-m", "extproc", "budget"]
    environ = {"PATH": ""}
    grant = [*command, "grant", "person-month", "alice", "+1", "--measure", "usd"]
    subprocess.run(grant, cwd=stack.folder, env=environ, check=True, timeout=60)
    told = subprocess.check_output([*command, "list"], cwd=stack.folder, env=environ, timeout=60, text=True)
    used = {tuple(line.split()[:3]): float(line.split()[3]) for line in told.splitlines()[1:]}
    operator.goto(f"{stack.url}/console/budgets")
    with operator.expect_download() as download:
        operator.get_by_role("link", name="CSV of person-month").click()
    rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    shown = {("person-month", row["key"], row["measure"].lower()): float(row["used"]) for row in rows}
    assert shown and all(used[key] == value for key, value in shown.items())
    assert {row["key"] for row in rows} == {"alice", "olivia"}
    [alice] = [row for row in rows if (row["key"], row["measure"]) == ("alice", "USD")]
    assert float(alice["limit"]) == 1.0001 and "$1.00 granted until" in alice["changed"]
    meter = operator.get_by_role("meter", name="person-month, olivia").first
    assert "warning from 50% on" in str(meter.get_attribute("aria-valuetext"))


def test_a_request_is_tried_by_the_keyboard(operator: Page, stack: Stack) -> None:
    operator.goto(f"{stack.url}/console/playground")
    operator.get_by_label(re.compile("Claims of the caller")).fill('{"sub": "zoe", "groups": []}')
    operator.get_by_label("Model, instead of").fill("unknown-model")
    operator.get_by_role("button", name="Try it").press("Enter")
    operator.get_by_role("heading", name="Decision: refused with 404").wait_for()
    operator.get_by_label("Model, instead of").fill("")
    operator.get_by_role("button", name="Try it").press("Enter")
    operator.get_by_role("heading", name="Decision: allowed").wait_for()
    assert operator.get_by_text("zoe (jwt)").is_visible()
    assert operator.get_by_role("heading", name=re.compile("Request to")).is_visible()
    foreign = httpx.post(
        f"{stack.url}/console/playground", data={"body": "{}"}, headers={"origin": "http://evil.example"}
    )
    assert foreign.status_code in {303, 401, 403}


def test_a_developer_sees_their_own_calls(operator: Page, stack: Stack) -> None:
    with contextlib.closing(another(operator)) as page:
        sign_in(page, stack, "alice")
        assert page.get_by_text("your own calls").is_visible()
        page.get_by_role("link", name="Calls").click()
        assert page.locator("tbody tr").count() == 1
        assert page.get_by_role("link", name="Providers").count() == 0
        page.get_by_role("link", name="Budgets").click()
        assert {key.inner_text() for key in page.locator("tbody th").all()} == {"alice", "everybody"}
        page.get_by_role("link", name="Playground").click()
        page.get_by_role("button", name="Try it").click()
        page.get_by_text("alice (jwt)").wait_for()
        assert page.get_by_label(re.compile("Claims of the caller")).count() == 0
        answer = page.goto(page.url.replace("/playground", "/configuration"))
        assert answer is not None and answer.status == 403
        sign_in(page, stack, "olivia")
        page.get_by_role("link", name="Calls").click()
        assert page.locator("tbody tr").count() == 3
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("button", name="Sign in with my company account").wait_for()


def test_a_revoked_person_is_out(operator: Page, stack: Stack) -> None:
    with contextlib.closing(another(operator)) as page:
        sign_in(page, stack, "alice")
        command = [sys.executable, "-m", "extproc", "revoke", "--sub", "alice", "--config", "gateway.yaml"]
        environ = {"MODEL_URL": "http://x/v1", "MODEL_KEY": "x", "OIDC_SECRET": "s", "PATH": ""}
        assert subprocess.run(command, cwd=stack.folder, env=environ, check=False, timeout=60).returncode == 0
        url, deadline = page.url, time.monotonic() + 20
        while "Sign in to the console" not in page.content():
            assert time.monotonic() < deadline
            page.goto(url)


def test_nothing_of_the_console_reaches_a_provider(stack: Stack) -> None:
    for path in ("/console", "/console/health", "/console/", "/console/x"):
        assert httpx.get(stack.url + path, verify=False).status_code in {303, 401, 404}, path
    assert httpx.post(f"{stack.url}/console", json={}, verify=False).status_code == 405
