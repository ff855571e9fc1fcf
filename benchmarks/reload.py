"""What callers notice of releases that are loaded while they ask: latency, failures, memory.

    python -m benchmarks.reload

A server with two workers serves two tables in five versions. An open-loop client asks for one row
after another at Poisson times over a few standing connections, measured from when each call was
due, all the time and without a pause. Stretches without and with reloads take turns; a reload
replaces every process of the server. The last line is one JSON object: p99_ratio (the median over
pairs of stretches, p99 with reloads over p99 without), failed_requests (calls that did not end with
grpc-status 0, of all), rss_growth_ratio (memory of all processes after the last reload over before
the first) and what they are made of.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import struct
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
import numpy as np
import psutil
import uvloop
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import ReleasesStub
from cascade_tables import list_releases, load_release, write_release
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.h2load import LoadFailed
from benchmarks.latency import METHOD, cascade, process, request
from benchmarks.open_loop import Connection, End, literals
from benchmarks.tables import ROOT

GOAWAY = 7
VERSIONS = {"credit": 3, "adult": 2}
DEADLINE = 1.0
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
        block = literals(
            {
                ":method": "POST",
                ":scheme": "http",
                ":path": METHOD,
                ":authority": self.target,
                "te": "trailers",
                "content-type": "application/grpc",
                "grpc-timeout": f"{round(1e3 * DEADLINE)}m",
            }
        )
        body = struct.pack(">BI", 0, len(self.message)) + self.message
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
            await asyncio.sleep(min(0.002, max(0.0, pause)) if not making else 0)
        for each in slots:
            each.close()

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
    """Two tables in five versions: the bundled releases, each under several numbers."""
    for table, versions in VERSIONS.items():
        release = load_release(source, table, list_releases(source)[table][-1])
        for version in range(1, versions + 1):
            manifest = replace(release.manifest, version=version)
            write_release(folder, manifest, release.codec, release.student, release.teacher)


def memory_of(process: psutil.Process) -> int:
    """Bytes resident in a process and all that it has started."""
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


class Reloads:
    """Has the server replace its processes, from outside."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.aio.insecure_channel(target)
        self._stub = ReleasesStub(self._channel)  # type: ignore[no-untyped-call]
        self.seconds: list[float] = []

    async def once(self) -> None:
        """One reload.

        Raises:
            LoadFailed: processes have not been replaced.
        """
        began = time.monotonic()
        before = (await self._stub.ListReleases(pb.ListReleasesRequest())).generation
        after = await self._stub.LoadRelease(pb.LoadReleaseRequest(), wait_for_ready=True)
        loaded = [each for each in after.releases if each.state == pb.RELEASE_STATE_LOADED]
        if after.generation <= before or len(loaded) != sum(VERSIONS.values()):
            raise LoadFailed(f"generation {after.generation} follows {before}")
        self.seconds.append(time.monotonic() - began)

    async def close(self) -> None:
        """Let go of the channel."""
        await self._channel.close()


async def measure(target: str, options: argparse.Namespace) -> dict[str, object]:
    """All stretches, beside the load that goes on."""
    (server,) = (
        each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE
    )
    loop = asyncio.get_running_loop()
    message, _ = await loop.run_in_executor(None, request, target, "credit")
    steady = Steady(target, message, options.per_s, options.connections)
    over, reloads = asyncio.Event(), Reloads(target)
    load = asyncio.create_task(steady.run(over))
    await asyncio.sleep(options.warm_seconds)
    before = memory_of(server)
    pairs: list[tuple[float, float]] = []
    rss = [before]
    done = 0
    number = 0
    while done < options.reloads:
        here = min(options.reloads_a_stretch, options.reloads - done)
        stretches: dict[bool, tuple[float, float]] = {}
        for reloading in (True, False) if number % 2 else (False, True):
            since = time.monotonic()
            until = since + here * options.every
            if reloading:
                for at in range(here):
                    await asyncio.sleep(max(0.0, since + at * options.every - time.monotonic()))
                    await reloads.once()
            await asyncio.sleep(max(0.0, until - time.monotonic()))
            stretches[reloading] = since, time.monotonic()
        done += here
        number += 1
        with_, without = (
            1e3 * float(np.quantile(steady.between(*stretches[each]), 0.99))
            for each in (True, False)
        )
        pairs.append((with_, without))
        rss.append(memory_of(server))
        console.print(
            f"{done} reloads: p99 {with_:.3f} ms with, {without:.3f} ms without; "
            f"{rss[-1] / 2**20:,.0f} MiB"
        )
    await asyncio.sleep(options.warm_seconds)
    after = memory_of(server)
    over.set()
    await load
    await reloads.close()
    ratios = [a / b for a, b in pairs]
    return {
        "p99_ratio": round(float(np.median(ratios)), 3),
        "failed_requests": sum(end is not End.OK for end in steady.ends),
        "rss_growth_ratio": round(after / before, 3),
        "requests": len(steady.ends),
        "reloads": done,
        "reconnected": steady.reconnected,
        "p99_with_ms": round(float(np.median([a for a, _ in pairs])), 3),
        "p99_without_ms": round(float(np.median([b for _, b in pairs])), 3),
        "p99_ratios": [round(each, 3) for each in ratios],
        "worst_with_ms": round(1e3 * float(np.max(steady.seconds)), 1),
        "reload_s": round(float(np.median(reloads.seconds)), 2),
        "rss_before_mib": round(before / 2**20, 1),
        "rss_after_mib": round(after / 2**20, 1),
        "per_s": options.per_s,
        "versions": sum(VERSIONS.values()),
    }


def main() -> None:
    """Serve, load, reload, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reload", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--reloads", type=int, default=50)
    parser.add_argument("--reloads-a-stretch", type=int, default=5)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between reloads")
    parser.add_argument("--per-s", type=float, default=300.0, help="calls a second")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--warm-seconds", type=float, default=5.0)
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            repository_of(Path(folder), options.repository)
            with process(*cascade(Path(folder), "--workers", "2")) as target:
                print(json.dumps(uvloop.run(measure(target, options))))
    except LoadFailed as exc:
        sys.exit(f"error: {exc}")


if __name__ == "__main__":
    main()
