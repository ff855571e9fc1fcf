"""Since when a promise is missed: pure arithmetic on counts by age."""

from __future__ import annotations

from collections.abc import Sequence

from cascade_server.objectives.burn import Events, burn_rate

# Cells without a bad event for so long end what was going on before them; so do good ones.
QUIET = 12


def since(
    cells: Sequence[Events], target: float, step: float, now: float, quiet: int = QUIET
) -> float | None:
    """When the trouble began that goes on still, or went on last.

    Args:
        cells: events of equal lengths of time, the newest last.
        target: the share of them that is to be good.
        step: seconds of a cell.
        now: seconds since 1970-01-01 UTC.
        quiet: cells in a row that burn no faster than allowed, after which trouble before them was
            another one's.

    Returns:
        The begin of its first cell, in the same seconds; None: in none of the cells does the budget
        burn faster than allowed.
    """
    first, calm = None, 0
    for age, events in enumerate(reversed(cells)):
        if burn_rate(events, target) > 1:
            first, calm = age, 0
        elif first is not None:
            calm += 1
            if calm >= quiet:
                break
    if first is None:
        return None
    return now - now % step - first * step


def reaches_back(cells: Sequence[Events], target: float, quiet: int = QUIET) -> bool:
    """Whether trouble is as old as the cells, so that older ones may tell when it began."""
    return any(burn_rate(each, target) > 1 for each in cells[:quiet])
