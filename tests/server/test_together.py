"""Turns of calls that came together."""

from __future__ import annotations

from unittest.mock import Mock, call

from cascade_server.errors import BadRequest
from cascade_server.together import Together


def test_turns_that_leave_others_waiting_tell_how_fast_calls_are_answered() -> None:
    """From one to the next: what is told to those that are refused in between takes time too."""
    service = Mock()
    service.plan.side_effect = BadRequest("no such request")
    service.draw_now.return_value = []
    times = iter([10.0, 10.25, 10.5, 20.0])
    together = Together(service, times.__next__)
    arrival = Mock(message=b"", arrived=0.0, deadline=100.0, gone=False)
    for calls, waiting in ((4, 1), (2, 7), (5, 0), (1, 0)):
        together.take([arrival] * calls, waiting)
    assert service.turned.call_args_list == [call(0.25 / 4), call(0.25 / 2)]


def test_who_comes_is_admitted_by_what_is_left_to_him() -> None:
    service = Mock()
    together = Together(service)
    assert together.admit(10.0, 10.5, 3) is None
    service.admit.assert_called_once_with(3, 0.5)
