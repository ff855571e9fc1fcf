"""A teacher in its own process answers as one in the server's, and is away when it is away."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from cascade_server.cascade.repository import Repository
from cascade_server.engines.engine import EngineStatistics
from cascade_server.engines.latency_model import Line, Outlook
from cascade_server.engines.runtime import Runtime
from cascade_server.engines.spent import Spent
from cascade_server.engines.teacher import LocalTeacher, TeacherInput
from cascade_server.engines.teacher_link import RemoteTeacher, TeacherLink
from cascade_server.engines.teacher_process import TeacherServer
from cascade_server.engines.teacher_wire import (
    Frame,
    Said,
    pack_draw,
    pack_drawn,
    pack_outlook,
    pack_score,
    read_frame,
    unpack_draw,
    unpack_drawn,
    unpack_outlook,
    unpack_score,
)
from cascade_server.errors import DeadlinePassed, NotReady, TeacherFailed
from cascade_server.terms import Tier
from cascade_tables import load_release

from tests.releases import TABLE

# Longer than anything here takes.
SOON = 60.0


@pytest.fixture(scope="module")
def loaded(repository: Path) -> Repository:
    return Repository.load(repository, 1, lambda _: None, (Tier.TEACHER,))


@pytest.fixture(scope="module")
def runtime(repository: Path) -> Runtime:
    return Runtime(load_release(repository, TABLE, 3), tiers=(Tier.TEACHER,))


def rows(runtime: Runtime, n: int, seed: int = 0) -> TeacherInput:
    """Rows of which a random half is known."""
    rng = np.random.default_rng(seed)
    columns = rng.random((n, runtime.columns)) < 0.5
    observed = columns[:, np.array(runtime.layout.column)]
    tokens = rng.integers(0, np.array(runtime.layout.sizes), (n, runtime.slots), dtype=np.int32)
    noise = rng.random((n, runtime.teacher_noise), dtype=np.float32)
    return TeacherInput(np.where(observed, tokens, 0), observed, noise, runtime.steps)


class TestWire:
    """What is packed comes out again."""

    def test_draw(self, runtime: Runtime) -> None:
        given = rows(runtime, 3)
        identity, found, deadline, offline = unpack_draw(pack_draw("a/1/é", given, math.inf, True))
        assert (identity, deadline, offline, found.steps) == ("a/1/é", math.inf, True, given.steps)
        for name in ("tokens", "observed", "noise"):
            np.testing.assert_array_equal(getattr(found, name), getattr(given, name))

    @pytest.mark.parametrize("alone", [True, False])
    def test_draw_alone(self, runtime: Runtime, alone: bool) -> None:
        given = replace(rows(runtime, 3), alone=alone)
        assert unpack_draw(pack_draw("a/1/b", given, math.inf, True))[1].alone is alone

    def test_score(self, runtime: Runtime) -> None:
        given = rows(runtime, 2)
        content = pack_score("a/1/b", given.tokens, given.observed, 12.5)
        identity, tokens, observed, deadline = unpack_score(content)
        assert (identity, deadline) == ("a/1/b", 12.5)
        np.testing.assert_array_equal(tokens, given.tokens)
        np.testing.assert_array_equal(observed, given.observed)

    def test_drawn(self) -> None:
        rows, spent = np.arange(6, dtype=np.int32).reshape(2, 3), Spent(0.25, 0.125)
        tokens, queued, charged = unpack_drawn(pack_drawn(rows, 0.5, spent))
        assert charged == spent
        assert (tokens.tolist(), queued) == ([[0, 1, 2], [3, 4, 5]], 0.5)
        tokens[0, 0] = 7  # it may be written to

    def test_outlook(self) -> None:
        outlook = Outlook(Line(1e-5, 1e-3, 1.5, 2e-3), 12.0, 7, 256)
        statistics = EngineStatistics(1, 2, 3, 4, 5, 6)
        packed = pack_outlook("a/1/b", outlook, statistics)
        assert unpack_outlook(packed) == ("a/1/b", outlook, statistics)


@dataclass
class Pair:
    server: TeacherServer
    link: TeacherLink
    teacher: RemoteTeacher

    async def until_told(self) -> None:
        """Until the process has told how its queue is."""
        async with asyncio.timeout(SOON):
            while math.isinf(self.teacher.predict(1, 1)):
                await asyncio.sleep(0.001)


@asynccontextmanager
async def pair(loaded: Repository, runtime: Runtime, path: Path) -> AsyncIterator[Pair]:
    server, link = TeacherServer(loaded.runtimes, path), TeacherLink(path)
    await server.start()
    link.start()
    both = Pair(server, link, link.teacher(runtime))
    try:
        await both.until_told()
        yield both
    finally:
        link.stop()
        server.stop()


async def test_the_same_rows_as_in_the_server(
    loaded: Repository, runtime: Runtime, tmp_path: Path
) -> None:
    async with pair(loaded, runtime, tmp_path / "s") as both:
        local = LocalTeacher(loaded.find(TABLE, 3), both.server._thread)
        many = [rows(runtime, n, seed=n) for n in (1, 5, 64)]
        found = await asyncio.gather(*(both.teacher.draw(given, math.inf) for given in many))
        for given, (tokens, _) in zip(many, found, strict=True):
            expected, _ = await local.draw(given, math.inf)
            np.testing.assert_array_equal(tokens, expected)
        scored = await both.teacher.log_likelihood(many[1].tokens, many[1].observed, math.inf)
        expected_scores = runtime.log_likelihood(many[1].tokens, many[1].observed)
        np.testing.assert_allclose(scored, expected_scores, rtol=1e-6)


async def test_what_is_late_is_not_run(
    loaded: Repository, runtime: Runtime, tmp_path: Path
) -> None:
    async with pair(loaded, runtime, tmp_path / "s") as both:
        with pytest.raises(DeadlinePassed):
            await both.teacher.draw(rows(runtime, 4), time.monotonic() - 0.001)
        given = rows(runtime, 4)
        with pytest.raises(DeadlinePassed):
            await both.teacher.log_likelihood(given.tokens, given.observed, 0.0)


async def test_what_is_given_up_is_dropped_there_too(
    loaded: Repository, runtime: Runtime, tmp_path: Path
) -> None:
    """A request that nobody waits for any more leaves a queue that is not served."""
    async with pair(loaded, runtime, tmp_path / "s") as both:
        engine = both.server._teachers[runtime.identity].engine
        release = asyncio.Event()
        loop = asyncio.get_running_loop()

        def held() -> None:
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result()

        both.server._thread.submit(held)
        busy = asyncio.create_task(both.teacher.draw(rows(runtime, 1), math.inf))
        async with asyncio.timeout(SOON):
            while not engine.outlook().busy_until:
                await asyncio.sleep(0)
            waiting = asyncio.create_task(both.teacher.draw(rows(runtime, 2), math.inf))
            while engine.statistics().waiting != 1:
                await asyncio.sleep(0)
            waiting.cancel()
            while engine.statistics().waiting != 0:
                await asyncio.sleep(0)
        release.set()
        await busy


@pytest.mark.parametrize(("offline", "expected"), [(False, 200.0), (True, 0.0)])
async def test_what_it_was_given_up_for_is_expected_of_the_next(
    loaded: Repository, runtime: Runtime, tmp_path: Path, offline: bool, expected: float
) -> None:
    """A process that waits for a processor does not know of it; nobody hurries what is offline."""
    async with pair(loaded, runtime, tmp_path / "s") as both:
        later, go_on = 0.0, threading.Event()
        both.link.clock = lambda: time.monotonic() + later
        both.server._thread.submit(go_on.wait)
        draw = asyncio.create_task(both.teacher.draw(rows(runtime, 1), math.inf, offline))
        async with asyncio.timeout(SOON):
            while not both.server._teachers[runtime.identity].engine.outlook().busy_until:
                await asyncio.sleep(0)
        later = 1000.0
        draw.cancel()
        await asyncio.gather(draw, return_exceptions=True)
        go_on.set()
        told = both.link.outlook(runtime.identity)
        assert told is not None
        itself = told[0].predict(both.link.clock(), 1, 1)
        assert both.teacher.predict(1, 1) - itself == pytest.approx(expected, abs=100)


async def test_one_that_was_slow_measures_itself_though_nobody_asks(
    loaded: Repository, runtime: Runtime, tmp_path: Path
) -> None:
    """Nobody asks one that is predicted to be late, and so nobody would see that it is not."""
    server = TeacherServer(loaded.runtimes, tmp_path / "s", measure_seconds=0.001)
    teacher = server._teachers[runtime.identity]
    for _ in range(64):
        teacher.engine.model.observe(1, 1000.0)
    await server.start()
    try:
        async with asyncio.timeout(SOON):
            while teacher.predict(1, 1) > 100:
                await asyncio.sleep(0.001)
    finally:
        server.stop()


@pytest.mark.parametrize(("seconds", "times"), [(0.5, 500), (30.0, 20)])
async def test_what_was_learnt_while_it_was_slow_is_forgotten_in_one_look(
    runtime: Runtime, seconds: float, times: int
) -> None:
    """However many of its passes were slow, and however slow."""
    with ThreadPoolExecutor(1) as thread:
        teacher = LocalTeacher(runtime, thread)
        for _ in range(times):
            teacher.engine.model.observe(1, seconds)
        await teacher.measure(SOON)
        assert teacher.engine.model.mean(1) < seconds / 4


async def test_one_that_went_away_and_came_back(
    loaded: Repository, runtime: Runtime, tmp_path: Path
) -> None:
    path = tmp_path / "s"
    async with pair(loaded, runtime, path) as both:
        assert both.teacher.predict(1, 3) > both.teacher.predict(1, 1) > 0
        underway = asyncio.create_task(both.teacher.draw(rows(runtime, 256), math.inf))
        await asyncio.sleep(0)
        both.server.stop()
        with pytest.raises(NotReady, match="process is away"):
            await underway
        async with asyncio.timeout(SOON):
            while not math.isinf(both.teacher.predict(1, 1)):
                await asyncio.sleep(0.001)
        with pytest.raises(NotReady, match="process is away"):
            await both.teacher.draw(rows(runtime, 1), math.inf)
        path.unlink(missing_ok=True)
        again = TeacherServer(loaded.runtimes, path)
        await again.start()
        await both.until_told()
        tokens, _ = await both.teacher.draw(rows(runtime, 1), math.inf)
        assert tokens.shape == (1, runtime.slots)
        again.stop()


async def test_an_error_there_is_an_error_here(
    loaded: Repository, runtime: Runtime, tmp_path: Path
) -> None:
    async with pair(loaded, runtime, tmp_path / "s") as both:
        given = rows(runtime, 1)
        broken = replace(given, noise=given.noise[:, :5])
        with pytest.raises(TeacherFailed, match="the teacher failed in its process: ") as caught:
            await both.teacher.draw(broken, math.inf)
        assert "Traceback" not in str(caught.value)
        await both.teacher.draw(given, math.inf)


async def test_a_release_that_it_does_not_have_is_not_ready(
    loaded: Repository, runtime: Runtime, tmp_path: Path
) -> None:
    """One that came to the repository after the process had started."""
    async with pair(loaded, runtime, tmp_path / "s") as both:
        newer = RemoteTeacher(both.link, f"{TABLE}/9/0123456789abcdef", 256)
        given = rows(runtime, 1)
        assert math.isinf(newer.predict(1, 1))
        with pytest.raises(NotReady):
            await newer.draw(given, math.inf)
        with pytest.raises(NotReady):
            await newer.log_likelihood(given.tokens, given.observed, math.inf)
        await both.teacher.draw(given, math.inf)


async def test_what_is_cancelled_does_not_pile_up_before_a_process_that_is_slow(
    tmp_path: Path,
) -> None:
    """Callers of `Generate` who come and hang up, while it has no time to read."""
    hung_up = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hung_up.wait()
        writer.close()

    path = tmp_path / "s"
    server, link = await asyncio.start_unix_server(slow, path), TeacherLink(path)
    link.start()
    try:
        async with asyncio.timeout(SOON):
            while link._writer is None:
                await asyncio.sleep(0.001)
            writer, calls = link._writer, list[asyncio.Task[Frame]]()
            for _ in range(20):
                calls.append(asyncio.create_task(link.call(Said.DRAW, bytes(2**20), patient=True)))
                await asyncio.sleep(0.001)
                if len(calls) > 1:
                    calls[-1].cancel()
            assert writer.transport.get_write_buffer_size() < 2**21
            waits = asyncio.create_task(link.call(Said.DRAW, b"", patient=True))
            await asyncio.sleep(0.001)
            hung_up.set()
            for each in (calls[0], waits):
                with pytest.raises(NotReady):
                    await each
    finally:
        link.stop()
        server.close()


async def test_what_is_cancelled_before_it_was_begun_leaves_nothing(
    loaded: Repository, runtime: Runtime, tmp_path: Path
) -> None:
    """A process that had no processor for a while reads a request and its end at once."""
    server = TeacherServer(loaded.runtimes, tmp_path / "s")
    await server.start()
    reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
    content = pack_draw(runtime.identity, rows(runtime, 4), math.inf, False)
    asked = [Frame(Said.DRAW, 50, content)]
    for number in range(50):
        asked[-1:-1] = [Frame(Said.DRAW, number, content), Frame(Said.CANCEL, number, b"")]
    writer.write(b"".join(each.packed() for each in asked))
    del asked
    while (await asyncio.wait_for(read_frame(reader), SOON)).said is not Said.DRAWN:
        pass
    gc.collect()
    left = [each for each in gc.get_objects() if type(each) is Frame and each.said is Said.DRAW]
    # Who reads the next one has the last one still.
    assert {each.number for each in left} <= {50}
    writer.close()
    await writer.wait_closed()
    server.stop()


class Still:
    """A process that has told of its queue once, reads what it is sent, and says no more."""

    def __init__(self, identity: str) -> None:
        outlook = pack_outlook(identity, Outlook(Line(0.0, 1e-3), 0.0, 0, 256), EngineStatistics())
        self._told = Frame(Said.OUTLOOK, 0, outlook).packed()
        self.read: asyncio.Queue[Frame] = asyncio.Queue()
        self.is_over = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._told)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                self.read.put_nowait(await read_frame(reader))
        writer.close()
        self.is_over.set()


@pytest.mark.parametrize(
    ("said", "offline"), [(Said.DRAW, False), (Said.DRAW, True), (Said.SCORE, False)]
)
async def test_a_process_that_stands_still_holds_nobody_beyond_his_deadline(
    runtime: Runtime, tmp_path: Path, said: Said, offline: bool
) -> None:
    """The request's own, which no gRPC deadline cuts short; what is given up is cancelled there."""
    path, still = tmp_path / "s", Still(runtime.identity)
    server = await asyncio.start_unix_server(still, path)
    link = TeacherLink(path, clock=lambda: 0.0)
    link.start()
    teacher, given, deadline = link.teacher(runtime), rows(runtime, 1), 0.02
    known = given.tokens, given.observed
    try:
        async with asyncio.timeout(SOON):
            while math.isinf(teacher.predict(1, 1)):
                await asyncio.sleep(0)
            asking = {
                Said.DRAW: lambda: teacher.draw(given, deadline, offline),
                Said.SCORE: lambda: teacher.log_likelihood(*known, deadline),
            }
            with pytest.raises(DeadlinePassed):
                await asking[said]()
            asked, given_up = await still.read.get(), await still.read.get()
        assert (asked.said, given_up.said) == (said, Said.CANCEL)
        assert asked.number == given_up.number
    finally:
        link.stop()
        await still.is_over.wait()
        server.close()


async def test_a_thread_that_is_at_something_else_holds_nobody_beyond_his_deadline(
    runtime: Runtime,
) -> None:
    """In the server's own process, and in the teacher's."""
    go_on, given = threading.Event(), rows(runtime, 1)
    with ThreadPoolExecutor(1) as thread:
        teacher = LocalTeacher(runtime, thread)
        thread.submit(go_on.wait)
        try:
            async with asyncio.timeout(SOON):
                for asked in (
                    lambda until: teacher.draw(given, until),
                    lambda until: teacher.log_likelihood(given.tokens, given.observed, until),
                ):
                    with pytest.raises(DeadlinePassed):
                        await asked(time.monotonic() + 0.02)
        finally:
            go_on.set()
