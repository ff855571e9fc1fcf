"""Turns of calls that came together."""

from __future__ import annotations

from unittest.mock import Mock, call

from cascade_server.errors import BadRequest
from cascade_server.services.together import Together


def test_turns_tell_how_fast_calls_are_answered() -> None:
    """Where others wait, from one to the next: to refuse calls in between takes time too."""
    service = Mock()
    service.plan.side_effect = BadRequest("no such request")
    service.draw_now.return_value = []
    times = iter([10.0, 10.25, 10.5, 10.75, 20.0, 20.25])
    together = Together(service, times.__next__)
    arrival = Mock(message=b"", arrived=0.0, deadline=100.0, gone=False)
    for calls, waiting in ((4, 1), (2, 7), (5, 0), (1, 0)):
        together.take([arrival] * calls, waiting)
    told = [call(0.25 / 4, 1), call(0.25 / 2, 7), call(0.25 / 5, 0), call(0.25, 0)]
    assert service.turned.call_args_list == told


def test_who_comes_is_admitted_by_what_is_left_to_him() -> None:
    service = Mock()
    together = Together(service)
    assert together.admit(10.0, 10.5, 3) is None
    service.admit.assert_called_once_with(3, 0.5)
