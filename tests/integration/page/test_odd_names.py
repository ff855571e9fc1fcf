"""Hundreds of tables, whose names are other people's, in a real browser."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.config import ServerConfig
from cascade_server.page.looking import Look
from cascade_server.page.publishing import Publisher
from cascade_server.page.sections import Section
from cascade_server.page.serving import PageServer

from tests.integration.page.browsing import PHONE, browser, needs_browser, tab, violations
from tests.server.page.counting import Counted
from tests.typed import SOON

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = needs_browser
ODD = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "a\"b'c&d;e",
    "شحن \u202e",
    "x" * 180,
    "{{constructor}} ${alert(1)} %s",
    "__proto__",
]
TABLES = [*ODD, *(f"table {number:03}" for number in range(300))]
COST = {
    "title": "Cost <b>",
    "note": "in USD",
    "columns": [{"key": "table", "label": "Table"}, {"key": "usd", "label": "Cost", "unit": "USD"}],
    "rows": [{"table": name, "usd": 0.25} for name in ODD],
}


@contextmanager
def page_of(counted: Counted, *sections: Section) -> Iterator[str]:
    """A page over a server's books, in a thread with an event loop of its own."""
    started, box = threading.Event(), {}

    async def life() -> None:
        stop = asyncio.Event()
        box["stop"] = lambda: box["loop"].call_soon_threadsafe(stop.set)
        box["loop"] = asyncio.get_running_loop()
        publisher = Publisher(
            lambda: Look(
                ServerConfig(), counted.ledger, lambda: counted.statistics, sections, counted.clock
            )
        )
        server = PageServer(publisher)
        box["port"] = await server.start("127.0.0.1", 0)
        await publisher.start()
        started.set()
        await stop.wait()
        await server.stop()
        await publisher.stop()

    thread = threading.Thread(target=lambda: asyncio.run(life()))
    thread.start()
    assert started.wait(SOON)
    try:
        yield f"http://127.0.0.1:{box['port']}/"
    finally:
        box["stop"]()
        thread.join()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    counted = Counted(TABLES)
    with page_of(counted, Section("cost", lambda: COST)) as url:
        for table in TABLES:
            counted.call(0.002, 20, table=table)
            counted.call(0.0, 1, table=table, ending=grpc.StatusCode.RESOURCE_EXHAUSTED)
            counted.statistics.outside.add(
                table=table, column=table[::-1], kind=pb.OUTSIDE_KIND_CATEGORY, values=3
            )
        yield url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


def test_names_are_texts(chromium: Browser, url: str) -> None:
    with tab(chromium) as found:
        found.open(url)
        page = found.page
        for name in ODD:
            page.get_by_label("Filter").fill(name)
            page.locator("#tables tbody th", has_text=name).first.wait_for()
        assert page.locator("img").count() == 0
        assert page.locator("main script").count() == 0
        page.locator("#part-cost", has_text="Cost <b>").wait_for()
        assert found.said == []


def test_hundreds_of_tables_are_a_few_rows_and_a_search(chromium: Browser, url: str) -> None:
    with tab(chromium, viewport=PHONE, bypass_csp=True) as found:
        found.open(url)
        page = found.page
        rows = page.locator("#tables tbody tr")
        rows.first.wait_for()
        assert rows.count() == 20
        more = page.locator("#tables button")
        assert re.search(f"{len(TABLES) - 20} more", more.inner_text())
        more.click()
        rows.nth(len(TABLES) - 1).wait_for()
        more.click()
        page.get_by_label("Filter").fill("table 123")
        page.locator("#tables tbody th", has_text="table 123").wait_for()
        assert rows.count() == 1
        assert not found.overflows()
        page.get_by_label("Filter").fill("")
        assert violations(found) == []
