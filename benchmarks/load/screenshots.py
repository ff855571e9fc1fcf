"""Pictures of the operations page for docs/: of a real server, asked by real clients.

The default server with a page and a state folder is asked for rows of the bundled tables, in all
classes, and makes a job meanwhile. Then its teacher is ended, again and again, so that a promise is
missed. It needs Debian's `chromium`, and playwright.

The last line is JSON: the pictures, and how long the server had been asked for the first of them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cascade_client import CascadeError, Client
from cascade_loadtest.servers import default_server

from benchmarks.tables import ROOT

TABLES = ("credit", "adult")
# Name, size, colours, and whether all of the page or the first screen of it.
PICTURES = (
    ("operations-light", (1280, 1000), "light", False),
    ("operations-dark", (1280, 1000), "dark", False),
    ("operations-phone", (360, 740), "light", False),
    ("operations-whole", (1280, 1000), "light", True),
)
PAGED = ("operations-paged", (1280, 720), "light", False)


@contextmanager
def serving_a_page(repository: Path) -> Iterator[tuple[str, str]]:
    """A server; where it listens, and its page's address."""
    with tempfile.TemporaryDirectory() as state:
        options = ("--ops-port", "0", "--state-dir", state)
        command = default_server(repository, *options)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            page = target = ""
            for line in server.stdout:
                page = line.split()[-1] if line.startswith("operations page on") else page
                if found := re.search(r"serving on (\S+:\d+)", line):
                    target = found[1]
                    break
            try:
                yield target, page
            finally:
                server.terminate()
                server.wait(60)


@contextmanager
def asked(target: str, seed: int) -> Iterator[None]:
    """Calls at random times, of all classes; some of what was never learnt, some in no time."""
    stop = threading.Event()

    def ask(table: str, a_second: float, fidelity: str, number: int) -> None:
        chance = random.Random(seed + number)
        with Client(target) as client:
            while not stop.wait(chance.expovariate(a_second)):
                given = {
                    "age": chance.choice((23, 31, 44, 58, 71, 95 if chance.random() < 0.1 else 37))
                }
                same = chance.randrange(20) if chance.random() < 0.3 else None
                with suppress(CascadeError):
                    timeout = 2.0 if fidelity == "full" else chance.choice((0.05, 0.1, 0.2))
                    client.synthesize(
                        table,
                        given,
                        fidelity=fidelity,
                        seed=same,
                        timeout=timeout,
                    )

    callers = [
        threading.Thread(target=ask, args=(table, rate, fidelity, number))
        for number, (table, rate, fidelity) in enumerate(
            (
                *(("credit", 12.0, "auto") for _ in range(3)),
                ("adult", 10.0, "auto"),
                ("adult", 6.0, "fast"),
                ("credit", 0.7, "full"),
            )
        )
    ]
    for each in callers:
        each.start()
    try:
        yield
    finally:
        stop.set()
        for each in callers:
            each.join()


def snapshot(page: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{page}snapshot.json", timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def end_the_teacher(page: str) -> None:
    """Until somebody is paged for it."""
    for _ in range(60):
        found = snapshot(page)
        if found["state"]["level"] == "page":
            return
        for each in found["processes"]:
            if each["name"] == "the teacher" and each["pid"] and each["state"] == "up":
                os.kill(each["pid"], signal.SIGKILL)
        time.sleep(2)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.screenshots", description=__doc__)
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "figures")
    parser.add_argument("--seconds", type=float, default=180.0, help="of load before the pictures")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is not on PATH; Debian's package `chromium` has it")
    from playwright.sync_api import sync_playwright

    made: list[str] = []
    with (
        serving_a_page(options.repository) as (target, address),
        asked(target, options.seed),
        sync_playwright() as playwright,
    ):
        with Client(target) as client:
            client.submit("credit", 200_000, fidelity="fast", seed=options.seed)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(address)

        def take(name: str, size: tuple[int, int], colours: Any, whole: bool) -> None:
            page.set_viewport_size({"width": size[0], "height": size[1]})
            page.emulate_media(color_scheme=colours)
            page.wait_for_timeout(1500)
            page.screenshot(path=str(options.out / f"{name}.png"), full_page=whole)
            made.append(name)

        page.wait_for_timeout(1000 * options.seconds)
        for each in PICTURES:
            take(*each)
        end_the_teacher(address)
        take(*PAGED)
        state = snapshot(address)["state"]["sentence"]
        browser.close()
    print(json.dumps({"pictures": made, "seconds": options.seconds, "paged": state}))


if __name__ == "__main__":
    main()
