"""Since when a promise is missed."""

from __future__ import annotations

import pytest
from cascade_server.objectives.burn import Events
from cascade_server.page.episodes import QUIET, since

GOOD, BAD, NONE = Events(100, 100), Events(50, 100), Events(0, 0)
NOW = 1_000_005.0


@pytest.mark.parametrize(
    ("cells", "seconds"),
    [
        ([GOOD] * 5, None),
        ([NONE] * 5, None),
        ([], None),
        ([GOOD, GOOD, BAD], 5),
        ([GOOD, BAD, BAD, BAD], 25),
        # It paused, and goes on; one call more or less is no end.
        ([GOOD, BAD, GOOD, NONE, BAD], 35),
        # It is over, and was lately.
        ([GOOD, BAD, GOOD, GOOD], 25),
        # That was another one.
        ([BAD] * 3 + [GOOD] * QUIET + [BAD], 5),
    ],
)
def test_the_begin_of_what_goes_on(cells: list[Events], seconds: float | None) -> None:
    found = since(cells, 0.99, 10, NOW)
    assert found == (None if seconds is None else pytest.approx(NOW - seconds))


def test_what_burns_no_faster_than_allowed_is_no_trouble() -> None:
    assert since([Events(99, 100)] * 10, 0.99, 10, NOW) is None
