"""A machine that has no room for another process, for a moment: who answers goes on answering."""

from __future__ import annotations

import errno
import os
import signal
import socket

import pytest
from cascade_server.supervision.crews import Begin, Phase, Role
from cascade_server.supervision.system import start

from tests.server.supervision.supervised import (
    CONFIG,
    SIGKILLED,
    TEACHER,
    WORKERS,
    Supervised,
    life,
)

FULL = BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


@pytest.fixture
def supervised() -> Supervised:
    return Supervised()


@pytest.mark.parametrize("why", [FULL, OSError(errno.EMFILE, "Too many open files")])
def test_it_is_tried_again_after_ever_longer_rests(
    supervised: Supervised, caplog: pytest.LogCaptureFixture, why: OSError
) -> None:
    crew = supervised.serving(*WORKERS)
    supervised.machine.ends_with("a", SIGKILLED)
    supervised.machine.refusals.extend([why, why, why])
    while not supervised.machine.begun:
        supervised.steps(1)
    ((when, name, begin),) = supervised.machine.begun
    # The first after it was killed is at once; then there are three that cannot be.
    assert when == pytest.approx(0.0 + 0.1 + 0.2 + 0.4)
    assert (name, begin) == ("a", Begin.AGAIN)
    assert f"a could not be started: {why.strerror}; starting it again" in caplog.text
    assert (supervised.told.crews, supervised.machine.kills) == ([], [])
    assert crew.phase is Phase.SERVING


def test_the_director_is_told_when_nobody_can_be_started(supervised: Supervised) -> None:
    supervised.serving(WORKERS[0], TEACHER)
    supervised.machine.ends_with("a", SIGKILLED)
    supervised.machine.refusals.extend([FULL] * CONFIG.most_starts)
    while not supervised.told.crews:
        supervised.steps(1)
    (told, *_) = supervised.told.crews
    assert told == (
        "crew",
        "hopeless: no worker can start, after 3 tries in a row: a could not be started: "
        "Resource temporarily unavailable",
    )


def test_a_crew_that_is_to_follow_fails_and_the_one_before_stays(supervised: Supervised) -> None:
    before = supervised.serving(*WORKERS)
    others = [Role(name, life) for name in ("c", "d", "e")]
    supervised.machine.refusals.extend([None, FULL])
    supervised.supervisor.start("next", others, Begin.NEXT)
    while not supervised.told.crews:
        supervised.steps(1)
    assert supervised.told.crews == [
        ("next", "d could not be started: Resource temporarily unavailable")
    ]
    supervised.steps(1)
    # Who was there is asked to end, and who was not yet is not started any more.
    assert [each[1] for each in supervised.machine.kills] == ["c"]
    assert [name for _, name, _ in supervised.machine.begun] == ["c"]
    assert before.phase is Phase.SERVING


def test_one_that_cannot_be_heard_is_ended_and_started_again(supervised: Supervised) -> None:
    supervised.serving(*WORKERS)
    supervised.machine.ends_with("a", SIGKILLED)
    supervised.machine.unheard.append(OSError(errno.ENOSPC, "No space left on device"))
    while len(supervised.machine.begun) < 2:
        supervised.steps(1)
    assert [each[1:] for each in supervised.machine.kills] == [("a", signal.SIGKILL)]
    assert [name for _, name, _ in supervised.machine.begun] == ["a", "a"]
    supervised.machine.says("a", ready=True)
    supervised.steps(2)
    assert supervised.told.heard[-1] == ("a", {"ready": True})


def test_nothing_is_left_open_of_a_process_that_could_not_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[socket.socket] = []
    pair = socket.socketpair

    def kept() -> tuple[socket.socket, socket.socket]:
        made.extend(pair())
        return made[0], made[1]

    def fork() -> int:
        raise FULL

    monkeypatch.setattr(socket, "socketpair", kept)
    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(BlockingIOError):
        start(WORKERS[0], Begin.AGAIN)
    assert [each.fileno() for each in made] == [-1, -1]
