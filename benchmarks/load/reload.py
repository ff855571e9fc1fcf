"""What callers notice of releases that are loaded while they ask: latency, failures, memory.

    python -m benchmarks.reload

A server with two workers (`--workers 2`, all else as it ships) serves two tables. An open-loop
client asks for one row after another at Poisson times over a few standing connections, measured
from when each call was due, all the time and without a pause. Stretches without reloads and
stretches of reloads one after another, with two seconds of rest between them, take turns; a reload
replaces every process of the server. The last line is one JSON object: p99_ratio (the median over
pairs of stretches, p99 with reloads over p99 without), failed_requests (calls that did not end with
grpc-status 0, of all), lost_requests (those whose connection broke), rss_growth_ratio (memory of
all processes after the last reload over before the first) and what they are made of.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import re
import signal
import struct
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import psutil
import uvloop
from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.frames import GOAWAY, grpc_headers, grpc_message, literals
from cascade_loadtest.open_loop import Connection, End
from cascade_loadtest.requests import SYNTHESIZE, late_features
from cascade_loadtest.servers import DEFAULT, default_server
from cascade_tables import list_releases, load_release, write_release
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.tables import ROOT

VERSIONS = {"credit": 1, "adult": 1}
DEADLINE = 1.0
# Seconds in which callers are told to go elsewhere, once another generation has taken over.
MOVE_SECONDS = 60.0
console = Console(stderr=True, highlight=False)


class Standing(Connection):
    """A connection that is told to go elsewhere, and says so.

    Attributes:
        leaving: whether it takes no more calls.
    """

    leaving = False

    def _received(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind != GOAWAY:
            super()._received(kind, flags, stream, payload)
            return
        self.leaving = True
        last = struct.unpack(">I", payload[:4])[0]
        for each in [each for each in self._calls if each > last]:
            # It was not taken up, and may be sent again.
            self._end(each, End.REFUSED)

    def connection_lost(self, exc: Exception | None) -> None:
        self.leaving = True
        super().connection_lost(exc)


@dataclass
class Steady:
    """A load that goes on.

    Attributes:
        due, ends, seconds: of each call, in the order they were due; when on the monotonic clock.
        reconnected: connections that were made in the place of another.
    """

    target: str
    message: bytes
    per_s: float
    connections: int
    due: list[float] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    reconnected: int = 0
    left: int = 0

    async def run(self, over: asyncio.Event) -> None:
        """Until `over`, and all calls have ended."""
        block = grpc_headers(self.target, SYNTHESIZE)
        block += literals({"grpc-timeout": f"{round(1e3 * DEADLINE)}m"})
        body = grpc_message(self.message)
        slots = [await self._connect() for _ in range(self.connections)]
        waiting: list[deque[int]] = [deque() for _ in slots]
        making: dict[int, asyncio.Task[Standing]] = {}
        rng = np.random.default_rng(0)
        next_at, number = time.monotonic(), 0
        while not over.is_set() or self.left:
            now = time.monotonic()
            while next_at <= now and not over.is_set():
                self.due.append(next_at)
                self.ends.append(End.FAILED)
                self.seconds.append(np.inf)
                self.left += 1
                waiting[number % len(slots)].append(number)
                number += 1
                next_at += rng.exponential(1 / self.per_s)
            for at, calls in enumerate(waiting):
                if at in making and making[at].done():
                    slots[at] = making.pop(at).result()
                    self.reconnected += 1
                if slots[at].leaving and at not in making:
                    making[at] = asyncio.create_task(self._connect())
                while calls and not slots[at].leaving:
                    slots[at].send(calls.popleft(), block, body)
            pause = next_at - time.monotonic()
            await asyncio.sleep(min(0.0005 if making else 0.002, max(0.0, pause)))
        for each in slots:
            each.close()

    async def moved(self, times: int) -> None:
        """Wait until connections have been made anew so many times.

        Raises:
            LoadFailed: they are not.
        """
        end = time.monotonic() + MOVE_SECONDS
        while self.reconnected < times:
            if time.monotonic() > end:
                raise LoadFailed(f"{self.reconnected} connections were made anew, not {times}")
            await asyncio.sleep(0.01)

    async def _connect(self) -> Standing:
        host, _, port = self.target.rpartition(":")
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(lambda: Standing(self._ended), host, int(port))
        await made.ready
        return made

    def _ended(self, number: int, end: End) -> None:
        self.ends[number] = end
        self.seconds[number] = time.monotonic() - self.due[number]
        self.left -= 1

    def between(self, since: float, until: float) -> NDArray[np.float64]:
        """Seconds of the answers to calls that were due in a stretch."""
        due, seconds = np.array(self.due), np.array(self.seconds)
        return seconds[(due >= since) & (due < until) & np.isfinite(seconds)]


def repository_of(folder: Path, source: Path) -> None:
    """The bundled releases, each under as many numbers as there are to be versions."""
    for table, versions in VERSIONS.items():
        release = load_release(source, table, list_releases(source)[table][-1])
        for version in range(1, versions + 1):
            manifest = replace(release.manifest, version=version)
            write_release(folder, manifest, release.codec, release.student, release.teacher)


class Server:
    """`cascade serve`, what it says, and its memory."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.seconds: list[float] = []

    async def until_said(self, pattern: str) -> str:
        """Read on to a line that matches.

        Raises:
            LoadFailed: there is none.
        """
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if found := re.search(pattern, line.decode()):
                return found[1]
        raise LoadFailed(f"the server ended without saying {pattern}")

    async def reload(self) -> None:
        """Have it replace its processes; SIGHUP costs this process nothing."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGHUP)
        await self.until_said(r"generation (\d+) has taken over")
        self.seconds.append(time.monotonic() - began)

    def memory(self) -> int:
        """Bytes resident in all its processes."""
        total = 0
        server = psutil.Process(self.process.pid)
        for each in (server, *server.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += each.memory_info().rss
        return total


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[str, Server]]:
    """A server on a free port; its address."""
    command = default_server(folder, "--workers", "2")
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    server = Server(process)
    try:
        yield await server.until_said(r"serving on (\S+:\d+)"), server
    finally:
        process.terminate()
        await process.wait()


async def measure(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """All stretches, beside the load that goes on."""
    async with serving(folder) as (target, server):
        loop = asyncio.get_running_loop()
        message, _ = await loop.run_in_executor(None, late_features, target, "credit")
        steady = Steady(target, message, options.per_s, options.connections)
        over = asyncio.Event()
        gc.disable()  # a collection here would look like a slow answer
        load = asyncio.create_task(steady.run(over))
        await asyncio.sleep(options.warm_seconds)
        before = server.memory()
        pairs = await stretches(steady, server, options)
        await steady.moved(len(server.seconds) * options.connections)
        await asyncio.sleep(options.warm_seconds)
        after = server.memory()
        over.set()
        await load
    ratios = [with_ / without for with_, without in pairs]
    return {
        "server": f"{DEFAULT} --workers 2",
        "p99_ratio": round(float(np.median(ratios)), 3),
        "failed_requests": sum(end is not End.OK for end in steady.ends),
        "lost_requests": sum(end is End.FAILED for end in steady.ends),
        "rss_growth_ratio": round(after / before, 3),
        "requests": len(steady.ends),
        "reloads": len(server.seconds),
        "reconnected": steady.reconnected,
        "p99_with_ms": round(float(np.median([with_ for with_, _ in pairs])), 3),
        "p99_without_ms": round(float(np.median([without for _, without in pairs])), 3),
        "p99_ratios": [round(each, 3) for each in ratios],
        "worst_ms": round(1e3 * float(np.max(steady.seconds)), 1),
        "reload_s": round(float(np.median(server.seconds)), 2),
        "rss_before_mib": round(before / 2**20, 1),
        "rss_after_mib": round(after / 2**20, 1),
        "per_s": options.per_s,
        "tables": len(VERSIONS),
        "versions": sum(VERSIONS.values()),
    }


async def stretches(
    steady: Steady, server: Server, options: argparse.Namespace
) -> list[tuple[float, float]]:
    """p99, milliseconds, with reloads one after another and without, pair by pair."""
    pairs: list[tuple[float, float]] = []
    left = options.reloads
    while left > 0:
        p99: dict[bool, float] = {}
        for reloading in (True, False) if len(pairs) % 2 else (False, True):
            since = time.monotonic()
            if reloading:
                for _ in range(min(options.reloads_a_stretch, left)):
                    await server.reload()
                    await asyncio.sleep(options.between)
                left -= options.reloads_a_stretch
            else:
                await asyncio.sleep(options.quiet_seconds)
            until = time.monotonic()
            # The last calls of a stretch are answered, or late, by then.
            await asyncio.sleep(0.1)
            p99[reloading] = 1e3 * float(np.quantile(steady.between(since, until), 0.99))
        pairs.append((p99[True], p99[False]))
        console.print(
            f"{len(server.seconds)} reloads: p99 {p99[True]:.3f} ms with, {p99[False]:.3f} ms "
            f"without; {server.memory() / 2**20:,.0f} MiB"
        )
    return pairs


def main() -> None:
    """Serve, load, reload, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reload", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--reloads", type=int, default=50)
    parser.add_argument("--reloads-a-stretch", type=int, default=5)
    parser.add_argument("--between", type=float, default=2.0, help="seconds of rest after one")
    parser.add_argument("--quiet-seconds", type=float, default=6.0, help="of other stretches")
    parser.add_argument("--per-s", type=float, default=300.0, help="calls a second")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--warm-seconds", type=float, default=5.0)
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            repository_of(Path(folder), options.repository)
            print(json.dumps(uvloop.run(measure(Path(folder), options))))
    except LoadFailed as exc:
        sys.exit(f"error: {exc}")


if __name__ == "__main__":
    main()
