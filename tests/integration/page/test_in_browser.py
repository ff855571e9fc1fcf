"""The operations page of a real server, in a real browser."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cascade_client import CascadeError

from tests.integration.page.browsing import (
    DESK,
    PHONE,
    Tab,
    browser,
    needs_browser,
    tab,
    violations,
)
from tests.integration.serving import Served, serve
from tests.releases import TABLE, make_release

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = needs_browser


@dataclass
class Watched:
    """A server that is asked all the time, and the address of its page."""

    served: Served
    url: str


@contextmanager
def asked(served: Served) -> Iterator[None]:
    """Calls one after another, of all classes, some with what was never learnt."""
    stop = threading.Event()

    def ask() -> None:
        with served.client(timeout=5) as client:
            number = 0
            while not stop.is_set():
                number += 1
                with suppress(CascadeError):
                    client.synthesize(
                        TABLE,
                        {"items": number % 9 if number % 4 else 500},
                        fidelity="full" if number % 10 == 0 else "auto",
                        seed=number % 3 if number % 2 else None,
                    )
                stop.wait(0.02)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder, state = tmp_path_factory.mktemp("releases"), tmp_path_factory.mktemp("state")
    make_release(folder)
    options = ("--repository", str(folder), "--state-dir", str(state), "--ops-port", "0")
    with serve(*options) as served, asked(served):
        url = served.until_said("operations page on").split()[-1]
        yield Watched(served, url)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture
def desk(chromium: Browser, watched: Watched) -> Iterator[Tab]:
    with tab(chromium) as found:
        found.open(watched.url)
        yield found
        assert found.said == []


class TestWhatIsShown:
    """All of it from the server itself."""

    def test_the_state_comes_first(self, desk: Tab) -> None:
        desk.page.locator("#tables tbody th").first.wait_for()
        sentence = desk.page.locator("#sentence").inner_text()
        assert re.search("promise", sentence), sentence
        box = desk.page.locator("#sentence").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < DESK["height"]

    def test_each_part_says_what_there_is(self, desk: Tab) -> None:
        for part, words in (
            ("tables", TABLE),
            ("promises", "within"),
            ("releases", f"{TABLE} 1"),
            ("processes", "the teacher"),
            ("outside", "items"),
            ("jobs", "No jobs are kept"),
            ("stores", "Cache"),
        ):
            desk.page.locator(f"#{part}", has_text=words).wait_for()

    def test_it_changes_by_itself(self, desk: Tab) -> None:
        calls = desk.page.locator("#processes tr", has_text="worker 0").locator("td").nth(4)
        calls.filter(has_text=re.compile("[0-9]")).wait_for()
        before = calls.inner_text()
        calls.filter(has_not_text=re.compile(f"^{re.escape(before)}$")).wait_for()

    def test_the_past_as_a_picture_and_as_a_table(self, desk: Tab) -> None:
        desk.page.locator("#charts canvas").first.wait_for()
        details = desk.page.locator("#charts details").first
        details.locator("summary").click()
        details.locator("tbody th").first.wait_for()
        assert "p99" in details.inner_text()

    def test_a_filter(self, desk: Tab) -> None:
        desk.page.locator("#tables tbody th").first.wait_for()
        desk.page.get_by_label("Filter").fill("nothing has this name")
        desk.page.locator("#tables", has_text="Nothing here has").wait_for()
        desk.page.get_by_label("Filter").fill(TABLE[:3])
        desk.page.locator("#tables tbody th").first.wait_for()


class TestForEverybody:
    """Whatever the colours, the size, and whoever looks."""

    def test_axe_finds_nothing(self, chromium: Browser, watched: Watched) -> None:
        with tab(chromium, bypass_csp=True) as found:
            found.open(watched.url)
            found.page.locator("#charts canvas").first.wait_for()
            found.page.locator("#charts summary").first.click()
            for size in (DESK, PHONE):
                found.page.set_viewport_size(size)
                for scheme in ("light", "dark"):
                    found.page.emulate_media(color_scheme=scheme)
                    found.page.locator(f"html[data-theme={scheme}]").wait_for()
                    assert violations(found) == [], (size, scheme)

    def test_nothing_is_wider_than_the_screen(self, desk: Tab) -> None:
        desk.page.locator("#tables tbody th").first.wait_for()
        for width in (320, 360, 768, 1024, 1100):
            desk.page.set_viewport_size({"width": width, "height": 740})
            assert not desk.overflows(), width

    def test_by_keyboard(self, desk: Tab) -> None:
        page = desk.page
        page.keyboard.press("Tab")
        assert page.locator(":focus").inner_text() == "Skip to the state"
        page.keyboard.press("Enter")
        page.locator("#state:focus").wait_for()
        page.get_by_label("Dark").focus()
        page.keyboard.press("Space")
        page.locator("html[data-theme=dark]").wait_for()
        page.keyboard.press("ArrowLeft")
        page.locator("html[data-theme=light]").wait_for()
        page.locator("#charts summary").first.focus()
        page.keyboard.press("Enter")
        page.locator("#charts details[open] tbody th").first.wait_for()

    def test_the_choice_of_colours_is_kept(self, desk: Tab) -> None:
        desk.page.get_by_label("Dark").check()
        desk.page.reload()
        desk.page.locator("html[data-theme=dark]").wait_for()

    def test_what_is_read_aloud_does_not_chatter(self, desk: Tab) -> None:
        """Numbers change every second; what is announced is a change of what is wrong."""
        page = desk.page
        page.locator("#announcement:not(:empty)").wait_for(state="attached")
        live = page.locator("[aria-live], [role=status], [role=alert]")
        assert live.count() == 1
        assert live.get_attribute("id") == "announcement"


def test_somebody_is_paged(chromium: Browser, watched: Watched) -> None:
    """The teacher dies: the page says so, says that it is back, and what it did to whom."""
    with tab(chromium) as found:
        found.open(watched.url)
        teacher = found.page.locator("#processes tr", has_text="the teacher")
        number = teacher.locator("td").nth(1)
        number.filter(has_text=re.compile("[0-9]")).wait_for()
        os.kill(int(number.inner_text().replace(",", "")), signal.SIGKILL)
        teacher.filter(has_text="SIGKILL").wait_for()
        # It may be away still, or be back already: either is said before all else of the page.
        said = found.page.locator(
            "main", has_text=re.compile("teacher (is away|was started again)")
        )
        said.wait_for()
        assert found.said == []


PROMISE = """
least_bad_events: 1000000
objectives:
  - table: "*"
    class: realtime
    latency: [{target: 0.99, threshold_ms: 0.001}]
"""


def test_a_promise_of_which_nobody_is_told_is_not_called_kept(
    chromium: Browser, repository_of_one: Path
) -> None:
    promise = repository_of_one / "slo.yaml"
    promise.write_text(PROMISE)
    options = ("--repository", str(repository_of_one), "--ops-port", "0")
    with serve(*options, "--slo", str(promise)) as served, asked(served), tab(chromium) as found:
        found.open(served.until_said("operations page on").split()[-1])
        state = found.page.locator("#tables td", has_text=re.compile("^spent$"))
        state.first.wait_for()
        assert found.said == []


def test_a_page_that_hears_nothing_says_so(chromium: Browser, repository_of_one: Path) -> None:
    with serve("--repository", str(repository_of_one), "--ops-port", "0") as served:
        url = served.until_said("operations page on").split()[-1]
        with tab(chromium, bypass_csp=True) as found:
            found.open(url)
            found.page.locator("#sentence", has_text="Nobody has called yet").wait_for()
            served.process.terminate()
            found.page.locator("#connection[data-state=lost]").wait_for()
            assert "no news" in found.page.locator("#connection").inner_text()
            # What it showed last can still be read, by everybody.
            assert violations(found) == []


@pytest.fixture
def repository_of_one(tmp_path: Path) -> Path:
    make_release(tmp_path)
    return tmp_path
