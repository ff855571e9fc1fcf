"""The turns that requests of all edges share, without a server."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from unittest.mock import Mock

import pytest
from cascade_server.services.turns import TURN_SECONDS, Turns, next_size

from tests.server.services.turns.bench import Bench, Caller, Clock, Compressed


class TestOrder:
    """What comes together is answered together."""

    def test_all_that_has_come_before_the_turn(self) -> None:
        bench = Bench(most=16)
        for name in "abc":
            bench.add(name)
        assert not bench.answered
        bench.turn()
        assert bench.answered == [(["a", "b", "c"], 0)]

    def test_the_nearest_deadlines_come_first_and_the_others_wait(self) -> None:
        bench = Bench(most=3)
        for name, deadline in (("never", math.inf), ("30", 30.0), ("10", 10.0), ("20", 20.0)):
            bench.add(name, deadline)
        bench.turn()
        bench.turn()
        assert bench.answered == [(["10", "20", "30"], 1), (["never"], 0)]

    def test_of_calls_that_take_long_a_turn_takes_few(self) -> None:
        """So that the loop looks at what else there is as often as with others."""
        bench = Bench(most=4, clock=Clock(0.0, 2.1 * TURN_SECONDS))
        for name in range(10):
            bench.add(name)
        for _ in range(4):
            bench.turn()
        taken = [len(names) for names, _ in bench.answered]
        assert taken == [4, 1, 2, 3]  # Then they take no time at all.

    @pytest.mark.parametrize(
        ("size", "calls", "turns", "expected"),
        [
            (16, 16, 0.9, 16),
            (16, 16, 1.9, 16),
            (16, 16, 4.0, 4),
            (16, 1, 4.0, 1),
            (4, 4, 1.5, 4),
            (4, 4, 0.9, 8),
            (12, 12, 0.9, 16),
            (4, 3, 0.9, 4),
        ],
    )
    def test_what_the_next_turn_takes(
        self, size: int, calls: int, turns: float, expected: int
    ) -> None:
        assert next_size(size, calls, turns * TURN_SECONDS, 16) == expected

    def test_who_has_gone_takes_nobodys_place(self) -> None:
        bench = Bench(most=2)
        bench.add("gone", 1.0, Caller(gone=True))
        for name in "abc":
            bench.add(name, 5.0)
        bench.turn()
        assert bench.gone == ["gone"]
        assert bench.answered == [(["a", "b"], 1)]

    def test_what_cannot_be_opened_is_not_answered(self) -> None:
        bench, damaged = Bench(), Caller()
        damaged.opens = False
        bench.add("damaged", caller=damaged)
        bench.add("whole")
        bench.turn()
        assert bench.answered == [(["whole"], 0)]

    def test_what_is_not_to_be_opened_yet_waits_and_keeps_nobody_waiting(self) -> None:
        bench, inflated = Bench(), Caller()
        inflated.paused = True
        bench.add("large", caller=inflated)
        bench.add("small")
        bench.turn()
        inflated.paused = False
        bench.turn()
        assert bench.answered == [(["small"], 0), (["large"], 0)]

    def test_what_is_to_be_inflated_is_no_reason_to_refuse_others(self) -> None:
        bench = Bench(clock=Clock(1.0, 1.0, 1.0))
        for number in range(100):
            bench.add(number, caller=Compressed())
        for name in ("first", "second"):
            bench.add(name)
            bench.turn()
            bench.turns.admit(0.0, math.inf)
        assert [names for names, _ in bench.answered] == [["first"], ["second"]]

    def test_compressed_messages_are_opened_in_their_order_though_others_keep_coming(self) -> None:
        bench, compressed = Bench(most=4), [Compressed() for _ in range(3)]
        for number, caller in enumerate(compressed):
            bench.add(number, caller=caller)
        bench.turn()
        for caller in compressed:
            caller.paused = False
        for _ in range(3):
            for name in "abcdefgh":
                bench.add(name)
            bench.turn()
        assert [names[:1] for names, _ in bench.answered] == [[0], [1], [2]]

    def test_one_that_cannot_be_opened_is_gone(self) -> None:
        bench, damaged, whole = Bench(most=8), Compressed(), Compressed()
        damaged.opens = False
        bench.add("damaged", caller=damaged)
        bench.add("whole", caller=whole)
        bench.turn()
        damaged.paused = whole.paused = False
        bench.turn()
        assert bench.answered == [(["whole"], 0)]
        bench.turn()
        assert not bench.soon


class TestRoom:
    """The patient wait for room; others are told that there is none."""

    def test_the_patient_are_not_taken_where_there_is_no_room(self) -> None:
        bench = Bench(most=16, room=1)
        bench.add("unary")
        bench.add("streamed", caller=Caller(patient=True))
        bench.add("other unary")
        bench.turn()
        assert bench.answered == [(["unary", "other unary"], 1)]
        bench.turn()
        assert bench.answered[1:] == [(["streamed"], 0)]

    def test_tasks_that_have_not_begun_take_room(self) -> None:
        bench = Bench(room=8)
        bench.started = 3
        bench.add("a")
        bench.turn()
        assert bench.turns.room() == 8 - 3
        bench.turn()
        assert bench.turns.room() == 8

    def test_while_nothing_is_loaded_all_may_wait_to_be_told_so(self) -> None:
        turns = Turns(Mock(), lambda: None, soon=lambda _: None)
        assert turns.room() == math.inf
        turns.admit(0.0, 1e-9)


class TestPace:
    """Turns tell the gate how fast requests are answered."""

    def test_where_others_wait_from_one_to_the_next(self) -> None:
        """To refuse calls in between takes time too."""
        told: list[tuple[float, int]] = []
        bench = Bench(most=2, clock=Clock(10.0, 0.1, 0.15, 0.5))
        bench.gate.turn_ended = lambda seconds, left: told.append((seconds, left))  # type: ignore[method-assign]
        for name in "abc":
            bench.add(name)
        bench.turn()  # from 10.0 to 10.1, leaves one
        bench.turn()  # begins at 10.25, ends at 10.75
        assert told == [(0.25 / 2, 1), (0.5, 0)]

    def test_what_is_to_be_done_after_a_turn(self) -> None:
        """So that answers of one turn leave together."""
        bench, done = Bench(), list[str]()
        bench.turns.then(lambda: done.append("at once"))
        assert done == ["at once"]
        answer = bench.answer

        def answering(exchanges: Sequence[Any], waiting: int) -> int:
            bench.turns.then(lambda: done.append("after"))
            done.append("in the turn")
            return answer(exchanges, waiting)

        bench.turns._answering.answer = answering  # type: ignore[method-assign]
        bench.add("a")
        bench.turn()
        assert done == ["at once", "in the turn", "after"]
