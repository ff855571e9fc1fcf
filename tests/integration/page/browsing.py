"""A browser that looks at an operations page, and hears all that goes wrong in it."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HAS_PLAYWRIGHT = importlib.util.find_spec("playwright") is not None
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or not HAS_PLAYWRIGHT,
    reason="there is no browser: Debian's package `chromium`, and playwright of the extra `dev`",
)
# Milliseconds for what appears by itself, on a machine that is busy.
SOON_MS = 30_000
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


@dataclass
class Tab:
    """A page, and what its console said: nothing, where all is well."""

    page: Page
    said: list[str] = field(default_factory=list)

    def open(self, url: str) -> None:
        self.page.goto(url)
        self.page.locator("#connection[data-state=live]").wait_for()

    def overflows(self) -> bool:
        """Whether one has to scroll sideways."""
        wide: bool = self.page.evaluate(
            "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        )
        return wide


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Tests are run as root in containers, where Chromium has no sandbox.
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield found
        finally:
            found.close()


@contextmanager
def tab(browser: Browser, **context: Any) -> Iterator[Tab]:
    """A tab of its own, with nothing kept from others."""
    made = browser.new_context(**{"viewport": DESK, **context})
    made.set_default_timeout(SOON_MS)
    found = Tab(made.new_page())
    found.page.on("console", lambda message: found.said.append(message.text))
    found.page.on("pageerror", lambda error: found.said.append(str(error)))
    # A stream of events ends with its page, which a browser calls a failure.
    found.page.on(
        "requestfailed",
        lambda request: (
            request.url.endswith("/events") or found.said.append(f"failed: {request.url}")
        ),
    )
    try:
        yield found
    finally:
        made.close()


def violations(found: Tab) -> list[str]:
    """What axe finds, in words; the tab's context has to allow scripts of others."""
    from axe_playwright_python.sync_playwright import Axe

    result = Axe().run(found.page)
    return [
        f"{each['id']}: {node['target']} {node.get('failureSummary', '')}"
        for each in result.response["violations"]
        for node in each["nodes"]
    ]
