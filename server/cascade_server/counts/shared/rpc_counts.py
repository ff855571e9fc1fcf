"""Counts of calls by method and status for every service.

OpenTelemetry's conventions call this `rpc.server.call.duration`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import product

import grpc
import numpy as np
from cascade_proto import flight_pb2, inference_pb2, jobs_pb2, synthesis_pb2
from numpy.typing import NDArray

from cascade_server.memory import Memory

# Upper bounds in seconds. The conventions begin with 5 ms, at which a call here is already late.
BOUNDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0),
)
# Name of a method that the server does not have: a label has few values.
OTHER = "_OTHER"
METHODS = (
    *(
        f"{service.full_name}/{method.name}"
        for module in (synthesis_pb2, inference_pb2, jobs_pb2, flight_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ),
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/Watch",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    OTHER,
)
KEYS = tuple(product(METHODS, grpc.StatusCode))
_WIDTH = len(BOUNDS) + 1


class RpcCounts:
    """A histogram of durations for each method and status.

    Args:
        memory: holds the counts; one process counts, any process may read.
    """

    def __init__(self, memory: Memory) -> None:
        self.durations = memory.integers(len(KEYS) * _WIDTH).reshape(-1, _WIDTH)
        self.seconds = memory.floats(len(KEYS))
        self._durations = self.durations.reshape(-1).data
        self._seconds = self.seconds.data.cast("B").cast("d")

    def record(self, path: str, code: grpc.StatusCode, seconds: float) -> None:
        """Add the end of a call.

        Args:
            path: "/package.Service/Method".
            code: the call's status.
            seconds: time from its headers to its end.
        """
        place = _PLACES.get((path[1:], code))
        if place is None:
            place = _PLACES[OTHER, code]
        self._durations[place * _WIDTH + bisect_left(BOUNDS, seconds)] += 1
        self._seconds[place] += seconds


_PLACES = {key: place for place, key in enumerate(KEYS)}


def added(parts: Iterable[RpcCounts]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Sum up durations [keys, bounds + 1] and seconds [keys]."""
    found = [(each.durations, each.seconds) for each in parts]
    durations, seconds = (np.sum(np.stack(each), axis=0) for each in zip(*found, strict=True))
    return durations, seconds
