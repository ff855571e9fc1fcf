"""What a turn takes is counted once, for those that it was for."""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import pytest
from cascade_server.counts.metering import Answered, Metering, memory_bytes, shares
from cascade_server.counts.shared.compute import ComputeCounts, UsageKey, UsageTier
from cascade_server.engines.spent import Spent, charge
from cascade_server.jobs.metering import JobMetering
from cascade_server.memory import Memory
from hypothesis import given
from hypothesis import strategies as st

STUDENT, POOL = UsageKey("credit", UsageTier.STUDENT), UsageKey("credit", UsageTier.POOL)
seconds = st.floats(0, 1e3)


class TestShares:
    """Of a turn's processor time."""

    def test_what_is_not_known_is_shared_alike(self) -> None:
        # 0.6 s of the turn nobody in it is known to have taken.
        assert shares([0.1, 0.3], 1.0, 2) == (
            [pytest.approx(0.4), pytest.approx(0.6)],
            pytest.approx(0.3),
        )

    def test_the_walls_clock_is_not_the_processors(self) -> None:
        # Another process had the processor for half of the time.
        assert shares([1.0, 3.0], 2.0, 2)[0] == [0.5, 1.5]

    def test_who_was_refused_pays_nothing_and_the_others_not_for_him(self) -> None:
        assert shares([0.0], 0.6, 3) == ([pytest.approx(0.2)], pytest.approx(0.2))

    @given(st.lists(seconds, max_size=16), seconds, st.integers(0, 4))
    def test_no_more_is_charged_than_was_used(
        self, known: list[float], whole: float, others: int
    ) -> None:
        charged, rest = shares(known, whole, len(known) + others)
        assert all(each >= 0 for each in (*charged, rest))
        if known or others:
            assert sum(charged) + others * rest == pytest.approx(whole)

    def test_a_run_is_charged_by_rows_and_passes(self) -> None:
        one, other = Spent(), Spent(1.0)
        charge((one, other), [10 * 2, 20 * 3], 8.0, 4.0)
        assert (one, other) == (Spent(2.0, 1.0), Spent(7.0, 3.0))

    def test_a_run_for_nothing_is_nobodys(self) -> None:
        spent = Spent()
        charge((spent,), [0], 8.0)
        assert spent == Spent()


def metering(times: Iterable[float]) -> tuple[Metering, ComputeCounts]:
    counts = ComputeCounts(["credit"], Memory())
    return Metering(counts, iter(times).__next__), counts


class TestTurns:
    """Between two looks at the clock of the event loop's thread."""

    def test_who_is_alone_is_charged_all_of_it(self) -> None:
        meter, counts = metering([0.0, 3.0])
        meter.turn_ends([Answered(STUDENT, 2.0, 0.0, 4, 12)], 1)
        assert dict(counts.used()) == {STUDENT: (3.0, 0.0, 1, 4, 12)}

    def test_who_came_together_shares_what_is_nobodys_own(self) -> None:
        meter, counts = metering([0.0, 4.0])
        few = Answered(POOL, 0.5, 0.0, 1, 3)
        meter.turn_ends([Answered(STUDENT, 1.5, 0.25, 1, 3), few], 2)
        found = dict(counts.used())
        assert (found[STUDENT].seconds, found[POOL].seconds) == (2.5, 1.5)
        assert found[STUDENT].gpu_seconds == 0.25

    def test_the_servers_own_housekeeping_is_nobodys(self) -> None:
        meter, counts = metering([0.0, 5.0, 7.0])
        meter.is_nobodys()
        meter.turn_ends([Answered(POOL, 0.0, 0.0, 1, 3)], 1)
        assert dict(counts.used())[POOL].seconds == 2.0

    def test_what_was_counted_elsewhere_is_not_counted_again(self) -> None:
        meter, counts = metering([0.0, 4.0, 6.0])
        meter.apart(3.0)
        meter.turn_ends([Answered(POOL, 0.0, 0.0, 1, 3)], 1)
        assert dict(counts.used())[POOL].seconds == 3.0

    def test_who_waits_is_charged_his_share(self) -> None:
        meter, _ = metering([0.0, 2.0])
        assert meter.turn_ends([], 4) == 0.5


class TestJobs:
    """All that an executor does is for its jobs."""

    def test_what_is_between_two_jobs_is_the_earlier_ones(self) -> None:
        counts = ComputeCounts(["adult", "credit"], Memory())
        meter = JobMetering(counts, iter([5.0, 6.0, 8.0]).__next__)
        meter.works_for("credit")
        meter.made(1000, 3000, Spent(10.0))
        meter.works_for("adult")
        meter.made(500, 500, Spent())
        assert dict(counts.used()) == {
            UsageKey("credit", UsageTier.JOB): (16.0, 0.0, 1, 1000, 3000),
            UsageKey("adult", UsageTier.JOB): (2.0, 0.0, 1, 500, 500),
        }


def test_a_process_has_memory() -> None:
    assert memory_bytes() > 2**20


def test_a_kernel_that_tells_pages_is_asked_how_large_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """64 KiB on some machines."""
    (tmp_path / "statm").write_text("900 100 50 1 0 300 0\n")
    real = open

    def opened(path: str, mode: str) -> IO[bytes]:
        return real(tmp_path / Path(path).name, mode)

    monkeypatch.setattr("cascade_server.counts.metering.open", opened, raising=False)
    monkeypatch.setattr(mmap, "PAGESIZE", 65_536)
    assert memory_bytes() == 100 * 65_536
