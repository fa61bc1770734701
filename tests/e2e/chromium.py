"""A real browser: Debian's Chromium without a window, driven by Playwright."""

import contextlib
import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

MILLISECONDS = 30_000
ARGUMENTS = (
    "--no-sandbox",  # root may not have one
    "--disable-background-networking",  # nothing but the test's pages is asked for
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)


@contextlib.contextmanager
def chromium() -> Iterator[Page]:
    """A page of a new profile. Skips where there is no Chromium, unless TOOLS=required."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None and os.environ.get("TOOLS") != "required":
        pytest.skip("there is no chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        try:
            page = browser.new_page()
            page.set_default_timeout(MILLISECONDS)
            yield page
        finally:
            browser.close()
