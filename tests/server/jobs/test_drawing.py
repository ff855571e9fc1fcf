"""The rows of jobs: a function of the seed and of their place, whoever draws them and however."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cascade_jobs.errors import JobFailed, JobWaits
from cascade_jobs.shards import Shard
from cascade_jobs.specification import Balance, Specification
from cascade_server.engines.gpu.opening import open_runtime
from cascade_server.engines.runtime import Runtime
from cascade_server.engines.teacher_link import TeacherLink
from cascade_server.engines.teacher_process import TeacherServer
from cascade_server.jobs import drawing
from cascade_server.jobs.conditions import conditions_of
from cascade_server.jobs.courtesy import Courtesy
from cascade_server.jobs.drawing import ReleaseDrawing
from cascade_tables import load_release, read_manifest

from tests.releases import TABLE, make_release
from tests.server.messages import COLUMNS, rows

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def own_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("of_jobs")
    make_release(folder)
    return folder


@pytest.fixture(scope="module")
def runtime(own_repository: Path) -> Runtime:
    return Runtime(load_release(own_repository, TABLE, 1))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One that another thread runs, as in an executor's process."""
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join()
    made.close()


@pytest.fixture
def alone(own_repository: Path, loop: asyncio.AbstractEventLoop) -> Iterator[ReleaseDrawing]:
    """Beside which no teacher's process is."""
    made = ReleaseDrawing(own_repository, loop, None)
    yield made
    made.close()


def asked(repository: Path, count: int, tier: str, **more: Any) -> Specification:
    return Specification(
        table=TABLE,
        version=1,
        release=read_manifest(repository, TABLE, 1).digest,
        tier=tier,
        rows=count,
        seed=5,
        seed_given=True,
        columns=COLUMNS,
        **more,
    )


def drawn(
    drawing: ReleaseDrawing, specification: Specification, cut: int, message: bytes = b""
) -> Rows:
    """All rows of a job that is cut into shards of so many rows."""
    out: Rows = []
    for number, first in enumerate(range(0, specification.rows, cut)):
        shard = Shard(number, first, min(cut, specification.rows - first))
        for frame in drawing.rows(specification, message, shard):
            out += frame.to_rows()
    return out


@pytest.mark.parametrize("tier", ["student", "teacher"])
def test_rows_do_not_depend_on_how_they_are_cut(
    alone: ReleaseDrawing, own_repository: Path, tier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    specification = asked(own_repository, 700, tier)
    whole = drawn(alone, specification, 700)
    assert len(whole) == 700
    assert drawn(alone, specification, 256) == whole
    monkeypatch.setitem(drawing.SLABS, tier, 512)
    assert drawn(alone, specification, 700) == whole
    other = replace(specification, seed=6)
    assert drawn(alone, other, 700) != whole


@pytest.mark.parametrize("tier", ["student", "teacher"])
def test_rows_are_the_same_while_calls_are_answered(
    alone: ReleaseDrawing, own_repository: Path, loop: asyncio.AbstractEventLoop, tier: str
) -> None:
    """Threads take turns; who reads no further keeps nobody from theirs."""
    calls = iter(range(1_000_000))
    polite = ReleaseDrawing(own_repository, loop, None, 1, Courtesy(lambda: next(calls)))
    specification = asked(own_repository, 6000, tier)
    left = polite.rows(specification, b"", Shard(0, 0, 6000))
    next(left)
    left.close()
    try:
        assert drawn(polite, specification, 6000) == drawn(alone, specification, 6000)
    finally:
        polite.close()


def test_a_teacher_that_is_in_no_process_takes_turns_too(
    own_repository: Path, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass a turn, with one thread, whatever the setting says: a turn is of one processor."""
    calls, turns, threads = iter(range(1_000_000)), set[str](), list[int]()

    class Seen(Courtesy):
        @contextmanager
        def turn(self) -> Iterator[None]:
            with super().turn():
                turns.add(threading.current_thread().name.partition("_")[0])
                yield

    def opened(release: Any, repository: Path, teacher_threads: int, *rest: Any) -> Runtime:
        threads.append(teacher_threads)
        return open_runtime(release, repository, teacher_threads, *rest)

    monkeypatch.setattr(drawing, "open_runtime", opened)
    polite = ReleaseDrawing(own_repository, loop, None, 2, Seen(lambda: next(calls)))
    hasty = ReleaseDrawing(own_repository, loop, None, 2)
    specification = asked(own_repository, 300, "teacher")
    try:
        assert drawn(polite, specification, 300) == drawn(hasty, specification, 300)
    finally:
        polite.close()
        hasty.close()
    assert turns == {threading.current_thread().name.partition("_")[0], "drawing"}
    assert threads == [1, 2]


async def test_the_teachers_process_draws_the_rows_that_one_draws_alone(
    alone: ReleaseDrawing, own_repository: Path, runtime: Runtime, tmp_path: Path
) -> None:
    specification = asked(own_repository, 600, "teacher")
    loop = asyncio.get_running_loop()
    server, link = TeacherServer([runtime], tmp_path / "t"), TeacherLink(tmp_path / "t")
    await server.start()
    link.start()
    shared = ReleaseDrawing(own_repository, loop, link)
    try:
        found = await asyncio.to_thread(drawn, shared, specification, 600)
    finally:
        shared.close()
        link.stop()
        server.stop()
    assert found == await asyncio.to_thread(drawn, alone, specification, 600)


async def test_a_teacher_that_is_started_again_goes_on_with_the_part(
    own_repository: Path, runtime: Runtime, tmp_path: Path
) -> None:
    specification = asked(own_repository, 4000, "teacher")
    loop = asyncio.get_running_loop()
    link = TeacherLink(tmp_path / "t")
    link.start()
    shared = ReleaseDrawing(own_repository, loop, link)

    async def undisturbed() -> Rows:
        server = TeacherServer([runtime], tmp_path / "t")
        await server.start()
        found = await asyncio.to_thread(drawn, shared, specification, 4000)
        server.stop()
        return found

    async def disturbed() -> Rows:
        server = TeacherServer([runtime], tmp_path / "t")
        await server.start()
        with ThreadPoolExecutor(1) as thread:
            rows_of = loop.run_in_executor(thread, drawn, shared, specification, 4000)
            for _ in range(2):
                while not any(each.engine.statistics().runs for each in server._teachers.values()):
                    await asyncio.sleep(0.001)
                server.stop()
                (tmp_path / "t").unlink(missing_ok=True)
                server = TeacherServer([runtime], tmp_path / "t")
                await server.start()
            found = await rows_of
        server.stop()
        return found

    try:
        assert await disturbed() == await undisturbed()
    finally:
        shared.close()
        link.stop()


async def test_a_teacher_that_stays_away_is_waited_for_by_the_job(
    own_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "PATIENCE", 0.01)
    link = TeacherLink(tmp_path / "nobody")
    link.start()
    away = ReleaseDrawing(own_repository, asyncio.get_running_loop(), link)
    try:
        with pytest.raises(JobWaits, match="the teacher's process is away"):
            await asyncio.to_thread(drawn, away, asked(own_repository, 10, "teacher"), 10)
    finally:
        away.close()
        link.stop()


class TestConditions:
    """What is given stands in the rows, and each row has the condition that is its own."""

    @pytest.mark.parametrize("tier", ["student", "teacher"])
    def test_of_each_row(self, alone: ReleaseDrawing, own_repository: Path, tier: str) -> None:
        specification = asked(own_repository, 90, tier, draws=30, given={"fraud": 1})
        message = rows(3, items=[3, 4, 5], channel=["web", None, "app"])
        message.columns[1].states = bytes([0, 1, 2])
        found = drawn(alone, specification, 40, message.SerializeToString())
        assert [row["items"] for row in found] == [3] * 30 + [4] * 30 + [5] * 30
        assert [row["channel"] for row in found[:60]] == ["web"] * 30 + [None] * 30
        assert len({row["channel"] for row in found[60:]}) > 1  # it is not known
        assert {row["fraud"] for row in found} == {1}

    def test_of_each_value(self, alone: ReleaseDrawing, own_repository: Path) -> None:
        balance = Balance("channel", (("shop", 5), (None, 11), ("web", 4)))
        specification = asked(own_repository, 20, "student", balance=balance)
        found = drawn(alone, specification, 7)
        assert [row["channel"] for row in found] == ["shop"] * 5 + [None] * 11 + ["web"] * 4

    @pytest.mark.parametrize(
        "given",
        [{"amount": 12.345}, {"at": 1_768_000_000_000_000}, {"member": True}, {"channel": None}],
    )
    def test_a_value_comes_back_as_it_was_given(
        self, alone: ReleaseDrawing, own_repository: Path, given: Mapping[str, Any]
    ) -> None:
        specification = asked(own_repository, 10, "student", given=given)
        shard = Shard(0, 0, 10)
        (frame,) = alone.rows(specification, b"", shard)
        ((name, value),) = given.items()
        column = frame[name]
        if value is None:
            assert column.null.all()
        else:
            assert set(column.values.astype(type(value)).tolist()) == {value}

    def test_rows_are_drawn_given_what_is_known(self, runtime: Runtime) -> None:
        balance = Balance("channel", (("shop", 3), ("web", 1)))
        made = Specification(
            TABLE, 1, "", "student", 4, 0, True, COLUMNS, {"items": 2}, balance=balance
        )
        conditions = conditions_of(made, b"", runtime)
        assert conditions.of_rows(1, 3).tolist() == [0, 0, 1]
        assert conditions.encoded.observed.any(axis=1).all()


class TestReleases:
    """A job keeps to the release that it was asked of."""

    def test_one_that_was_made_anew_is_another(
        self, own_repository: Path, loop: asyncio.AbstractEventLoop, tmp_path: Path
    ) -> None:
        specification = asked(own_repository, 10, "student")
        make_release(tmp_path, seed=9)
        other = ReleaseDrawing(tmp_path, loop, None)
        with pytest.raises(JobFailed, match="payments version 1 is another release by now"):
            drawn(other, specification, 10)
        other.close()

    def test_one_that_is_gone_is_named(
        self, own_repository: Path, loop: asyncio.AbstractEventLoop
    ) -> None:
        specification = replace(asked(own_repository, 10, "student"), version=7)
        gone = ReleaseDrawing(own_repository, loop, None)
        with pytest.raises(JobFailed, match="payments version 7 cannot be loaded any more"):
            drawn(gone, specification, 10)
        gone.close()

    def test_conditions_that_do_not_fit_it_are_named(
        self, alone: ReleaseDrawing, own_repository: Path
    ) -> None:
        specification = asked(own_repository, 10, "student", given={"chanel": "web"})
        with pytest.raises(JobFailed, match="its conditions: unknown column 'chanel'"):
            drawn(alone, specification, 10)
