"""Finds since when an objective is missed, from counts by age; pure."""

from __future__ import annotations

from collections.abc import Sequence

from cascade_server.objectives.burn import Events, burn_rate

# This many cells in a row without a bad event, or within the budget, end an episode.
QUIET = 12


def since(
    cells: Sequence[Events], target: float, step: float, now: float, quiet: int = QUIET
) -> float | None:
    """Return when the current or the last episode began.

    Args:
        cells: events of periods of equal length, the newest last.
        target: the share of events that should be good.
        step: seconds of a cell.
        now: seconds since 1970-01-01 UTC.
        quiet: after this many cells in a row that burn no faster than allowed, an earlier episode
            is a separate one.

    Returns:
        The start of its first cell, in the same seconds; None if no cell burns the budget faster
        than allowed.
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
    """Return whether the episode is as old as the cells, so that older cells may show its start."""
    return any(burn_rate(each, target) > 1 for each in cells[:quiet])
