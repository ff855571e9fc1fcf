"""Loading that others do not notice."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from cascade_server.supervision.loading import Turns, load, rest


@pytest.mark.parametrize(("share", "expected"), [(1.0, 0.0), (0.5, 2.0), (0.2, 8.0)])
def test_rest_makes_work_a_share_of_the_time(share: float, expected: float) -> None:
    assert rest(2.0, share) == pytest.approx(expected)


async def test_only_the_thread_that_loads_yields(tmp_path: Path) -> None:
    inside = await load(lambda pause: os.sched_getscheduler(0), Turns(tmp_path / "turn"))
    assert inside == os.SCHED_IDLE
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    assert await load(lambda pause: os.sched_getscheduler(0), None) == os.SCHED_OTHER


async def test_an_error_is_the_callers(tmp_path: Path) -> None:
    def fails(_: object) -> None:
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        await load(fails, Turns(tmp_path / "turn"))
    # And the turn is another's.
    assert await load(lambda pause: 1, Turns(tmp_path / "turn")) == 1


def test_one_loads_at_a_time(tmp_path: Path) -> None:
    """As processes would: each with a file of its own."""
    inside, most = 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        with Turns(tmp_path / "turn", share=1.0) as pause:
            for _ in range(20):
                with lock:
                    inside += 1
                    most = max(most, inside)
                with lock:
                    inside -= 1
                pause()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
