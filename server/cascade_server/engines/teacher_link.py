"""A worker's connection to the teacher in another process."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cascade_server.deadline import bounded
from cascade_server.engines.engine import EngineStatistics
from cascade_server.engines.latency_model import Hindsight, Outlook
from cascade_server.engines.runtime import Mask, Runtime, Tokens
from cascade_server.engines.spent import Spent
from cascade_server.engines.teacher import AWAY, TeacherInput
from cascade_server.engines.teacher_wire import (
    Frame,
    Said,
    pack_draw,
    pack_score,
    read_frame,
    unpack_drawn,
    unpack_outlook,
    unpack_scored,
)
from cascade_server.errors import DeadlinePassed, NotReady, TeacherFailed
from cascade_server.telemetry.call_trace import stage_going_on

# Seconds between attempts to connect.
RECONNECT_SECONDS = 0.05


class TeacherLink:
    """A connection to the teacher's process that reconnects whenever it breaks.

    Args:
        path: path of the process's socket.
        clock: monotonic seconds, the clock of deadlines.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self.clock = path, clock
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: dict[int, asyncio.Future[Frame]] = {}
        self._number = 0
        self._outlooks: dict[str, tuple[Outlook, EngineStatistics]] = {}
        self._task: asyncio.Task[None] | None = None
        self.connected = asyncio.Event()

    def teacher(self, runtime: Runtime) -> RemoteTeacher:
        """Return a release's teacher over this connection."""
        return RemoteTeacher(self, runtime.identity, runtime.teacher_part)

    def start(self) -> None:
        """Connect to the teacher's process, and reconnect whenever it restarts."""
        self._task = asyncio.create_task(self._keep_connected())

    def stop(self) -> None:
        """Close the connection; waiting calls fail."""
        if self._task is not None:
            self._task.cancel()

    def outlook(self, identity: str) -> tuple[Outlook, EngineStatistics] | None:
        """Return the process's last report about a release; None while the process is away."""
        return self._outlooks.get(identity)

    async def call(self, said: Said, content: bytes, patient: bool = False) -> Frame:
        """Send a request and wait for its answer; cancelling the call cancels the request too.

        Args:
            said, content: kind and content of the request.
            patient: whether to send only after the process has read everything sent earlier. If the
                call is cancelled before that, it leaves nothing behind for the process to read.

        Raises:
            NotReady: the process is away, or went away.
            DeadlinePassed, TeacherFailed: the process reported so.
        """
        if patient and self._writer is not None:
            with contextlib.suppress(ConnectionError):
                await self._writer.drain()
        writer = self._writer
        if writer is None:
            raise NotReady(AWAY)
        self._number += 1
        number = self._number
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        writer.write(Frame(said, number, content).packed())
        try:
            frame = await answer
        except asyncio.CancelledError:
            if not writer.is_closing():
                writer.write(Frame(Said.CANCEL, number, b"").packed())
            raise
        finally:
            del self._waiting[number]
        if frame.said is Said.LATE:
            raise DeadlinePassed(frame.content.decode())
        if frame.said is Said.FAILED:
            raise TeacherFailed(f"the teacher failed in its process: {frame.content.decode()}")
        return frame

    async def _keep_connected(self) -> None:
        try:
            while True:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    reader, self._writer = await asyncio.open_unix_connection(self._path)
                    await self._read(reader)
                self._disconnected()
                await asyncio.sleep(RECONNECT_SECONDS)
        finally:
            self._disconnected()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            frame = await read_frame(reader)
            if frame.said is Said.OUTLOOK:
                identity, outlook, statistics = unpack_outlook(frame.content)
                self._outlooks[identity] = outlook, statistics
                self.connected.set()
                continue
            answer = self._waiting.get(frame.number)
            if answer is not None and not answer.done():
                answer.set_result(frame)

    def _disconnected(self) -> None:
        self.connected.clear()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._outlooks.clear()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(NotReady(AWAY))


class RemoteTeacher:
    """A release's teacher in its own process; see `teacher.Teacher`."""

    def __init__(self, link: TeacherLink, identity: str, most_rows: int) -> None:
        self._link, self._identity, self.most_rows = link, identity, most_rows
        # Rows that were sent and have not come back; the process may not have reported them yet.
        self._underway = 0
        # The process has the lowest priority, so it may be woken late.
        self._hindsight = Hindsight()

    async def draw(
        self, given: TeacherInput, deadline: float, offline: bool = False
    ) -> tuple[Tokens, float]:
        rows = 0 if offline else len(given.tokens)
        self._check()
        began, predicted = self._link.clock(), self._told(len(given.tokens), given.steps)
        self._underway += rows
        if (inside := stage_going_on()) is not None:
            given = replace(given, inside=inside)
        try:
            content = pack_draw(self._identity, given, deadline, offline)
            async with bounded(deadline, self._link.clock):
                frame = await self._link.call(Said.DRAW, content, offline)
            drawn, queued, spent = unpack_drawn(frame.content)
            given.spent.add(spent.seconds, spent.gpu_seconds)
            return drawn, queued
        finally:
            self._underway -= rows
            if rows:
                now = self._link.clock()
                self._hindsight.observe(now, predicted, now - began)

    async def log_likelihood(
        self, tokens: Tokens, observed: Mask, deadline: float, spent: Spent | None = None
    ) -> NDArray[np.float64]:
        self._check()
        content = pack_score(self._identity, tokens, observed, deadline)
        async with bounded(deadline, self._link.clock):
            frame = await self._link.call(Said.SCORE, content)
        scores, used = unpack_scored(frame.content)
        if spent is not None:
            spent.add(used.seconds, used.gpu_seconds)
        return scores

    def _check(self) -> None:
        # Nor does the process know a release that was added to the repository since it started.
        if self._link.outlook(self._identity) is None:
            raise NotReady(AWAY)

    def predict(self, rows: int, passes: int) -> float:
        return self._told(rows, passes) + self._hindsight.delay(self._link.clock())

    def _told(self, rows: int, passes: int) -> float:
        """Return the prediction, as far as the process can tell."""
        told = self._link.outlook(self._identity)
        if told is None:
            return math.inf
        outlook = told[0]
        if self._underway > outlook.ahead:
            outlook = outlook._replace(ahead=self._underway)
        return outlook.predict(self._link.clock(), rows, passes)

    def statistics(self) -> EngineStatistics:
        """See `Teacher`; these are the process's last reported counts, for all workers."""
        told = self._link.outlook(self._identity)
        return EngineStatistics() if told is None else told[1]

    def away(self) -> str:
        return AWAY
