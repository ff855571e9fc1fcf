"""What a server itself has counted, before and after it was asked."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import grpc
import psutil
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub

# Counts of workers are merged a moment later: they are read until they stay as they are.
SETTLE_SECONDS, PAUSE = 5.0, 0.3


def cpu_seconds(pid: int) -> float:
    """Processor seconds that a process and its children have taken so far; of children that have
    ended, no longer."""
    parent, found = psutil.Process(pid), 0.0
    for process in (parent, *parent.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            found += times.user + times.system
    return found


class Watch:
    """How long a block lasts, and what a server's processes compute meanwhile.

    Attributes:
        began, ended: monotonic seconds.
        cpu: processor seconds of all its processes that are there when it ends.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.began = self.ended = self.cpu = 0.0

    def __enter__(self) -> Self:
        self.cpu = -cpu_seconds(self._pid)
        self.began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended = time.monotonic()
        self.cpu += cpu_seconds(self._pid)


@dataclass(frozen=True)
class ServerCounts:
    """Since a server's start.

    Attributes:
        answers, by_teacher: real-time answers, and those of them that the teacher gave.
        spent: events of the table's real-time availability objective that were not good.
        late_executions: work that was begun after its deadline.
    """

    answers: int
    by_teacher: int
    spent: int
    late_executions: int

    @classmethod
    def settled(cls, target: str, table: str) -> ServerCounts:
        """Once they change no more."""
        until, found = time.monotonic() + SETTLE_SECONDS, cls.read(target, table)
        while time.monotonic() < until:
            time.sleep(PAUSE)
            before, found = found, cls.read(target, table)
            if found == before:
                break
        return found

    @classmethod
    def read(cls, target: str, table: str) -> ServerCounts:
        """As the server says now."""
        with grpc.insecure_channel(target) as channel:
            stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]
            level = stub.GetServiceLevel(pb.GetServiceLevelRequest())
            statistics = stub.GetStatistics(pb.GetStatisticsRequest())
        realtime = pb.CLASS_OF_SERVICE_REALTIME
        answers = [each for each in level.latencies if each.class_of_service == realtime]
        (availability,) = (
            each
            for each in level.objectives
            if (each.table, each.class_of_service) == (table, realtime)
            and each.kind == pb.OBJECTIVE_KIND_AVAILABILITY
        )
        return cls(
            sum(each.count for each in answers),
            sum(each.count for each in answers if each.tier == pb.TIER_TEACHER),
            availability.total - availability.good,
            sum(engine.late_starts for engine in statistics.engines),
        )

    def since(self, before: ServerCounts) -> ServerCounts:
        """What has been counted between two readings."""
        return ServerCounts(
            self.answers - before.answers,
            self.by_teacher - before.by_teacher,
            self.spent - before.spent,
            self.late_executions - before.late_executions,
        )
