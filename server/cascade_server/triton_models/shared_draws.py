"""Draws several requests with as few calls of a network as possible; pure except for the calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cascade_server.cascade.request import CheckedRequest
from cascade_server.engines.noise import NoiseSource
from cascade_server.engines.runtime import Mask, Noise, Tokens

Draw = Callable[[Tokens, Mask, Noise], Tokens]


def draw_together(
    requests: Sequence[CheckedRequest],
    noise_of: Callable[[CheckedRequest], NoiseSource],
    width: int,
    most: int,
    draw: Draw,
) -> list[Tokens]:
    """Draw the rows of some requests.

    Noise comes from each request's own seed, one call at a time: the result does not depend on the
    other requests in the call, and memory is bounded.

    Args:
        requests: in order.
        noise_of: returns a request's noise for the network.
        width: uniform numbers per row.
        most: the most rows of one call.
        draw: calls the network once.

    Returns:
        int32 [total, T] of each request.
    """
    found: list[list[Tokens]] = [[] for _ in requests]
    given = [request.completed() for request in requests]
    sources = [noise_of(request) for request in requests]
    for call in calls([request.total for request in requests], most):
        tokens = [given[index][0][rows] for index, rows in call]
        observed = [given[index][1][rows] for index, rows in call]
        noise = [
            sources[index]((len(part), width))
            for (index, _), part in zip(call, tokens, strict=True)
        ]
        drawn = draw(_joined(tokens), _joined(observed), _joined(noise))
        end = 0
        for (index, _), part in zip(call, tokens, strict=True):
            end += len(part)
            found[index].append(drawn[end - len(part) : end])
    return [_joined(parts) for parts in found]


def calls(totals: Sequence[int], most: int) -> list[list[tuple[int, slice]]]:
    """Return which rows of which request go into each call, in order."""
    out: list[list[tuple[int, slice]]] = []
    room = 0
    for index, total in enumerate(totals):
        done = 0
        while done < total:
            if room == 0:
                out.append([])
                room = most
            take = min(room, total - done)
            out[-1].append((index, slice(done, done + take)))
            done, room = done + take, room - take
    return out


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
