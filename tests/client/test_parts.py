"""Frames beyond what one request may ask for: in parts, in flight together, in order, as one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import pandas as pd
import pytest
from cascade_client import (
    ColumnDescription,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    Retry,
    Synthesis,
    Tier,
    Unavailable,
)
from cascade_client.messages.given import hold
from cascade_client.messages.parts import Parts
from cascade_client.progress import Bar
from cascade_client.testing import FakeServer, FakeTable
from cascade_client.values.descriptions import TableDescription
from hypothesis import given, settings
from hypothesis import strategies as st

COLUMNS = (
    ColumnDescription("age", "integer", False, "int64", 0, 10**6),
    ColumnDescription("city", "categorical", True, "string", categories=("Rome", "Oslo")),
)
# One of the two clients, asked once: server, options of the client, arguments of `synthesize`.
Ask = Callable[..., Synthesis[Any]]


def server(**limits: int) -> FakeServer:
    """One whose rows depend on the seed, and on a row's place among all that the caller has."""
    return FakeServer({"people": FakeTable(columns=COLUMNS, versions=(1, 3))}, **limits)


def blocking(of: FakeServer, data: Any, how: dict[str, Any], **options: Any) -> Synthesis[Any]:
    with of.client(**options) as client:
        return client.synthesize("people", data, **how)


def awaited(of: FakeServer, data: Any, how: dict[str, Any], **options: Any) -> Synthesis[Any]:
    async def ask() -> Synthesis[Any]:
        async with of.async_client(**options) as client:
            return await client.synthesize("people", data, **how)

    return asyncio.run(ask())


@pytest.fixture(params=[blocking, awaited])
def ask(request: pytest.FixtureRequest) -> Ask:
    chosen: Ask = request.param
    return chosen


def frame(rows: int) -> pd.DataFrame:
    """Rows whose ages are their places, every third of them a hole."""
    ages = [None if row % 3 == 0 else row for row in range(rows)]
    return pd.DataFrame({"age": ages}, index=[f"r{row}" for row in range(rows)])


class TestRows:
    @settings(max_examples=40, deadline=None)
    @given(
        rows=st.integers(1, 40),
        most=st.integers(1, 50),
        size=st.sampled_from([80, 200, 10**6]),
        draws=st.integers(1, 3),
        one=st.sampled_from([blocking, awaited]),
    )
    def test_one_seed_gives_the_same_rows_however_they_are_cut(
        self, rows: int, most: int, size: int, draws: int, one: Ask
    ) -> None:
        data, how = frame(rows), {"seed": 7, "draws": draws}
        whole = blocking(server(), data, how)
        cut = server(max_rows=max(most, draws), max_message_bytes=size)
        found = one(cut, data, how)
        pd.testing.assert_frame_equal(found.data, whole.data)
        assert (found.provenance.seed, found.draws) == (7, draws)
        assert list(found.data.index) == [f"r{row}" for row in range(rows) for _ in range(draws)]

    def test_a_list_of_dicts_goes_in_parts_too(self, ask: Ask) -> None:
        rows = [{"age": row} for row in range(25)]
        small = server(max_rows=8)
        found = ask(small, rows, {"seed": 1})
        assert found.data == blocking(server(), rows, {"seed": 1}).data
        assert len(small.asked) == 4

    def test_without_a_seed_all_parts_share_one_that_is_told(self, ask: Ask) -> None:
        small = server(max_rows=8)
        found = ask(small, frame(20), {})
        assert {asked.seed for asked in small.asked} == {found.provenance.seed}
        again = ask(small, frame(20), {"seed": found.provenance.seed})
        pd.testing.assert_frame_equal(again.data, found.data)

    def test_all_parts_are_by_who_answered_the_first(self, ask: Ask) -> None:
        small = server(max_rows=8)
        found = ask(small, frame(20), {"log_likelihood": True})
        assert [asked.version for asked in small.asked] == [None, 3, 3]
        assert [asked.fidelity for asked in small.asked] == ["auto", "full", "full"]
        assert found.provenance.tier is Tier.TEACHER
        assert found.log_likelihood is not None
        assert len(found.log_likelihood) == 20

    def test_parts_yield_to_calls_that_somebody_waits_for(self, ask: Ask) -> None:
        small = server(max_rows=8)
        ask(small, frame(20), {})
        assert {asked.offline for asked in small.asked} == {True}
        ask(small, frame(8), {})
        assert not small.asked[-1].offline

    def test_a_request_that_fits_is_one(self, ask: Ask) -> None:
        small = server(max_rows=8)
        ask(small, frame(8), {})
        ask(small, frame(4), {"draws": 2})
        assert [asked.version for asked in small.asked] == [None, None]


class TestProgress:
    def test_it_grows_to_all_rows(self, ask: Ask) -> None:
        told: list[tuple[int, int]] = []
        ask(server(max_rows=8), frame(20), {"progress": lambda *at: told.append(at)})
        assert [done for done, _ in told] == sorted({done for done, _ in told})
        assert (told[-1], {total for _, total in told}) == ((20, 20), {20})

    def test_one_request_tells_once(self, ask: Ask) -> None:
        told: list[tuple[int, int]] = []
        ask(server(), frame(20), {"progress": lambda *at: told.append(at)})
        assert told == [(20, 20)]

    def test_what_is_no_function_is_refused(self, ask: Ask) -> None:
        with pytest.raises(InvalidRequest, match="progress is 'bar'; a function of two numbers"):
            ask(server(), frame(2), {"progress": "bar"})

    def test_a_bar_on_a_terminal_and_nothing_elsewhere(
        self, ask: Ask, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ask(server(max_rows=8), frame(20), {"progress": True})
        assert capsys.readouterr().err == ""
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)
        bar = Bar("people")
        bar(5, 20)
        bar(20, 20)
        shown = capsys.readouterr().err
        assert "\rpeople ███████" in shown
        assert shown.endswith("20 of 20 rows\n")


class TestFailures:
    """A part that fails fails them all, and says which rows it is about."""

    def test_the_rows_are_named_by_the_frames_index(self, ask: Ask) -> None:
        small = server(max_rows=8)
        small.refuse(InvalidRequest("column 'age', row 3: 'x' is not allowed"))
        with pytest.raises(InvalidRequest) as caught:
            ask(small, frame(20), {})
        assert str(caught.value) == (
            "rows 0 to 7 of 20 (index 'r0' to 'r7'): column 'age', row 3: 'x' is not allowed "
            "(index: row 3 is 'r3')"
        )
        assert caught.value.rows == range(8)
        assert len(small.asked) == 1

    def test_so_they_are_in_one_request(self, ask: Ask) -> None:
        of = server()
        of.refuse(InvalidRequest("column 'age', row 3: 'x' is not allowed"))
        with pytest.raises(InvalidRequest, match=r"not allowed \(index: row 3 is 'r3'\)$"):
            ask(of, frame(20), {})

    def test_numbers_of_an_index_are_numbers(self, ask: Ask) -> None:
        of = server()
        of.refuse(InvalidRequest("column 'age', row 3: 'x' is not allowed"))
        with pytest.raises(InvalidRequest, match=r"\(index: row 3 is 13\)$"):
            ask(of, frame(20).set_axis([*range(10, 30)]), {})

    def test_of_a_plain_index_there_is_nothing_to_say(self, ask: Ask) -> None:
        small = server(max_rows=8)
        small.refuse(InvalidRequest("row 3 is bad"))
        with pytest.raises(InvalidRequest, match=r"^rows 0 to 7 of 20: row 3 is bad$"):
            ask(small, frame(20).reset_index(drop=True), {})

    def test_a_later_part(self, ask: Ask) -> None:
        data = frame(20)
        data["age"] = data["age"].astype(object)
        data.loc["r13", "age"] = "forty"
        with pytest.raises(InvalidRequest, match=r"^rows 8 to 15 of 20 \(index 'r8' to 'r15'\): "):
            ask(server(max_rows=8), data, {})

    def test_parts_are_tried_again_as_calls_are(self, ask: Ask) -> None:
        small = server(max_rows=8)
        small.refuse(Overloaded("busy", retry_after=0.5), times=2)
        small.refuse(Unavailable("away"))
        found = ask(small, frame(20), {"seed": 1})
        pd.testing.assert_frame_equal(found.data, blocking(server(), frame(20), {"seed": 1}).data)
        assert len(small.asked) == 6

    def test_a_busy_server_that_goes_on_is_asked_again(self) -> None:
        """As often as `retry` allows, without an answer to another part in between."""
        held = hold([{"age": 1}] * 30)
        assert held is not None
        described = TableDescription("people", 1, COLUMNS, max_rows=10)
        parts = Parts(held, described, 1, None, {})
        busy, patient = Overloaded("busy", retry_after=0.25), Retry()
        with pytest.raises(Overloaded):
            parts.delay(busy, 0, patient)
        parts.add(parts.ahead, [])
        assert parts.delay(busy, 0, patient) == 0.25
        for error, done, retry in (
            (busy, 10, patient),
            (busy, 0, Retry(attempts=1)),
            (Overloaded("too much"), 0, patient),
        ):
            with pytest.raises(Overloaded):
                parts.delay(error, done, retry)

    def test_one_that_answers_nothing_is_not_asked_for_ever(self, ask: Ask) -> None:
        small = server(max_rows=2)
        small.refuse(Overloaded("busy", retry_after=0.01), times=None)
        with pytest.raises(Overloaded, match=r"^rows 0 to 1 of 60 .*busy"):
            ask(small, frame(60), {})
        assert len(small.asked) == Retry().attempts

    def test_what_a_caller_does_wrong_in_progress_ends_it(self, ask: Ask) -> None:
        def broken(done: int, total: int) -> None:
            raise RuntimeError("no bar")

        small = server(max_rows=8)
        with pytest.raises(RuntimeError, match="no bar"):
            ask(small, frame(200), {"progress": broken})
        assert len(small.asked) == 1


@pytest.mark.parametrize("is_async", [False, True])
class TestHeldBack:
    """Frames that go in parts are held back for what became of parts, and calls for calls."""

    CALLS = 40

    def refused(self, is_async: bool, first: Any, then: Any) -> tuple[list[str], list[str]]:
        """What is said of calls to a server that refuses all that it is asked for at first, and
        of others that follow once it does not."""
        small, first_said, then_said = server(max_rows=8, max_message_bytes=600), [], []

        async def ask_all(synthesize: Callable[[Any], Awaitable[object]]) -> None:
            small.refuse(Overloaded("busy"), times=None)
            for data, said in ((first, first_said), (then, then_said)):
                for _ in range(self.CALLS):
                    try:
                        await synthesize(data)
                    except Overloaded as exc:
                        said.append(str(exc))
                small.recover()

        async def with_one() -> None:
            if is_async:
                async with small.async_client() as client:
                    await ask_all(lambda data: client.synthesize("people", data))
            else:
                with small.client() as client:

                    async def ask(data: Any) -> None:
                        client.synthesize("people", data)

                    await ask_all(ask)

        asyncio.run(with_one())
        return first_said, then_said

    def unsent(self, said: list[str]) -> int:
        return sum("was not sent" in each for each in said)

    @pytest.mark.parametrize("call", [{}, frame(1), frame(8)])
    def test_parts_go_to_who_refuses_calls(self, is_async: bool, call: Any) -> None:
        calls, frames = self.refused(is_async, call, frame(20))
        assert self.unsent(calls) >= self.CALLS / 2
        assert frames == []

    @pytest.mark.parametrize("call", [{}, frame(1), frame(8)])
    def test_calls_go_to_who_refuses_parts(self, is_async: bool, call: Any) -> None:
        frames, calls = self.refused(is_async, frame(20), call)
        assert self.unsent(frames) >= self.CALLS / 2
        assert calls == []

    def test_rows_too_large_for_one_message_are_parts(self, is_async: bool) -> None:
        large = [{"city": "Rome" * 50}] * 6
        calls, frames = self.refused(is_async, {}, large)
        assert self.unsent(calls) >= self.CALLS / 2
        assert frames == []
        frames, calls = self.refused(is_async, large, {})
        assert self.unsent(frames) >= self.CALLS / 2
        assert calls == []


async def test_parts_without_a_timeout_are_not_late_by_the_clients_own() -> None:
    """Others wait, and what a call gets within the client's timeout would be refused."""
    small = server(max_rows=8)
    async with small.async_client() as client:
        await client.describe("people")
        turns = client._synthesize_turns
        queue = turns._queue
        assert queue is not None
        queue.limit = 1
        for _ in range(9):
            queue._pace.add(5.0)
        async with turns.holding(math.inf):
            first = asyncio.ensure_future(client.synthesize("people", {}, timeout=0.9))
            await asyncio.sleep(0)
            for call in ({}, frame(1), frame(8)):
                with pytest.raises(Overloaded, match="later than its timeout allows"):
                    await client.synthesize("people", call)
            parts = asyncio.ensure_future(client.synthesize("people", frame(20)))
            while not parts.done() and queue.statistics().waiting < 2:
                await asyncio.sleep(0)
            assert not parts.done()
        assert len((await first).data) == 2
        assert len((await parts).data) == 20


class TestDeadlines:
    """A timeout that is given is for the whole frame; without one it takes as long as it takes."""

    def test_the_whole_frame_is_held_to_the_timeout(self, ask: Ask) -> None:
        small = server(max_rows=8)
        small.slow(0.4)
        with pytest.raises(DeadlineExceeded, match=r"^rows \d+ to \d+ of 80"):
            ask(small, frame(80), {"timeout": 1.0, "fidelity": "fast"})
        assert small.clock() <= 2.0

    def test_without_one_the_clients_own_does_not_hold(self, ask: Ask) -> None:
        small = server(max_rows=8)
        small.slow(0.4)
        assert len(ask(small, frame(80), {}, timeout=0.3).data) == 80
        assert {asked.timeout for asked in small.asked} == {None}

    def test_rows_of_one_request_have_a_millisecond_more_each(self, ask: Ask) -> None:
        large = server(max_rows=1000)
        ask(large, frame(80), {"draws": 4}, timeout=0.3)
        assert large.asked[-1].timeout == pytest.approx(0.62, rel=0.01)
        ask(large, frame(80), {"draws": 4, "timeout": 0.4}, timeout=0.3)
        assert large.asked[-1].timeout == pytest.approx(0.4, rel=0.01)
        ask(large, frame(1), {"draws": 4}, timeout=0.3)
        assert large.asked[-1].timeout == pytest.approx(0.3, rel=0.01)

    def test_auto_asks_for_the_first_part_within_its_share(self, ask: Ask) -> None:
        small = server(max_rows=8)
        ask(small, frame(80), {"timeout": 10.0})
        assert small.asked[0].timeout == pytest.approx(1.0, rel=0.01)
        assert all(asked.timeout > 5 for asked in small.asked[1:] if asked.timeout)

    def test_and_asks_the_student_where_that_is_too_short(self, ask: Ask) -> None:
        small = server(max_rows=8)
        small.slow(2.0, times=1)
        ask(small, frame(80), {"timeout": 10.0})
        assert [asked.fidelity for asked in small.asked[:3]] == ["auto", "fast", "fast"]


class TestDraws:
    """What a model's scores are averaged over."""

    @pytest.mark.parametrize("draws", [1, 3])
    def test_the_mean_of_each_rows_draws(self, ask: Ask, draws: int) -> None:
        answer = ask(server(max_rows=8), frame(20), {"draws": draws, "seed": 1})
        ages = answer.data["age"].to_numpy()
        expected = [ages[row * draws : (row + 1) * draws].mean() for row in range(20)]
        assert answer.mean_over_draws(answer.data["age"]).tolist() == pytest.approx(expected)
        both = answer.mean_over_draws(answer.data[["age", "age"]])
        assert both.shape == (20, 2)

    def test_scores_of_other_rows_are_refused(self, ask: Ask) -> None:
        answer = ask(server(), frame(4), {"draws": 3})
        with pytest.raises(ValueError, match=r"scores have shape \(4,\); one for each row of data"):
            answer.mean_over_draws([1, 2, 3, 4])

    def test_the_index_says_the_draw(self, ask: Ask) -> None:
        answer = ask(server(), frame(2).rename_axis("id"), {"draws": 2})
        index = answer.by_draw().index
        assert index.names == ["id", "draw"]
        assert index.tolist() == [("r0", 0), ("r0", 1), ("r1", 0), ("r1", 1)]
        levels = frame(2).set_index([["a", "b"], [1, 2]])
        assert ask(server(), levels, {}).by_draw().index.tolist() == [("a", 1, 0), ("b", 2, 0)]

    def test_dicts_have_no_index(self, ask: Ask) -> None:
        with pytest.raises(TypeError, match="data is a list; a DataFrame of pandas"):
            ask(server(), [{"age": 1}], {}).by_draw()
