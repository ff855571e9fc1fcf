"""The teacher in a process of its own, so that it never delays a worker's event loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from cascade_server.engines.engine import never_rests
from cascade_server.engines.runtime import Runtime
from cascade_server.engines.spent import Spent
from cascade_server.engines.teacher import MEASURE_SECONDS, LocalTeacher
from cascade_server.engines.teacher_wire import (
    Frame,
    Said,
    pack_drawn,
    pack_outlook,
    pack_scored,
    read_frame,
    unpack_draw,
    unpack_score,
)
from cascade_server.errors import DeadlinePassed, in_a_line
from cascade_server.telemetry.records import Attribute
from cascade_server.telemetry.tracer import Tracer

log = logging.getLogger("cascade.server")

# Seconds between checks whether workers need news of the queue.
OUTLOOK_SECONDS = 0.005


class TeacherServer:
    """Serves the teacher to workers on a Unix socket; their requests share the network's passes.

    Args:
        runtimes: the releases whose teachers it serves.
        path: path of the socket.
        measure_seconds: seconds without a request after which a teacher measures a pass again. AUTO
            does not ask a teacher that is predicted to be late, so one that was slow once, on a
            busy machine, would be predicted slow for ever.
        tracer: receives the work for traced calls; None for no tracing.
        threads: threads of a pass.
        pace: slows jobs down; see `Engine`.
    """

    def __init__(
        self,
        runtimes: Iterable[Runtime],
        path: Path,
        measure_seconds: float = MEASURE_SECONDS,
        tracer: Tracer | None = None,
        threads: int = 1,
        pace: Callable[[float], float] = never_rests,
    ) -> None:
        self._tracer = tracer
        self._path, self._measure_seconds = path, measure_seconds
        self._thread = ThreadPoolExecutor(1, "teacher")
        # With several threads: this process does little else than passes.
        clock = time.process_time if threads > 1 else time.thread_time
        self._teachers = {
            runtime.identity: LocalTeacher(runtime, self._thread, clock, pace)
            for runtime in runtimes
        }
        self._writers: set[asyncio.StreamWriter] = set()
        self._told: dict[str, bytes] = {}
        # Count of unanswered requests, and whether there are any.
        self._open = 0
        self._has_work = asyncio.Event()

    async def start(self) -> None:
        """Listen; every new connection is first sent the outlook of every teacher."""
        self._tell()
        self._server = await asyncio.start_unix_server(self._connected, self._path)
        self._telling = asyncio.create_task(self._keep_telling())
        self._measuring = asyncio.create_task(self._keep_measuring())

    def stop(self) -> None:
        """Close all connections; work in progress is dropped."""
        self._telling.cancel()
        self._measuring.cancel()
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        tasks: dict[int, asyncio.Task[None]] = {}
        for outlook in self._told.values():
            writer.write(outlook)
        try:
            while True:
                frame = await read_frame(reader)
                if frame.said is Said.CANCEL:
                    if frame.number in tasks:
                        tasks[frame.number].cancel()
                    continue
                task = tasks[frame.number] = asyncio.create_task(self._answer(frame, writer))
                # Not in the task itself: a task that is cancelled before it starts never runs its
                # cleanup.
                task.add_done_callback(partial(_forget, tasks, frame.number))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the worker is gone
        finally:
            self._writers.discard(writer)
            for task in list(tasks.values()):
                task.cancel()
            writer.close()

    async def _answer(self, frame: Frame, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        self._has_work.set()
        try:
            said, content = await self._done(frame)
        except DeadlinePassed as exc:
            said, content = Said.LATE, str(exc).encode()
        except Exception as exc:  # a worker that gets no frame waits until its deadline
            log.exception("the teacher failed")
            said, content = Said.FAILED, in_a_line(exc).encode()
        finally:
            self._open -= 1
        if not writer.is_closing():
            writer.write(Frame(said, frame.number, content).packed())

    async def _done(self, frame: Frame) -> tuple[Said, bytes]:
        if frame.said is Said.DRAW:
            identity, given, deadline, offline = unpack_draw(frame.content)
            teacher = self._teachers[identity]
            began = time.monotonic()
            tokens, queued = await teacher.draw(given, deadline, offline)
            if self._tracer is not None and given.inside is not None:
                rows, ended = len(tokens), time.monotonic()
                # Other rows may share its passes, and it waits for passes that are already running.
                about: dict[str, Attribute] = {"cascade.rows": rows, "cascade.steps": given.steps}
                self._tracer.worked("queue", given.inside, began, began + queued, {})
                self._tracer.worked("teacher", given.inside, began + queued, ended, about)
            return Said.DRAWN, pack_drawn(tokens, queued, given.spent)
        identity, tokens, observed, deadline = unpack_score(frame.content)
        teacher, spent = self._teachers[identity], Spent()
        scored = await teacher.log_likelihood(tokens, observed, deadline, spent)
        return Said.SCORED, pack_scored(scored, spent)

    async def _keep_telling(self) -> None:
        while True:
            await self._has_work.wait()
            while self._open:
                self._tell()
                await asyncio.sleep(OUTLOOK_SECONDS)
            self._has_work.clear()
            # An idle teacher has nothing new to report.
            self._tell()

    async def _keep_measuring(self) -> None:
        seen = dict.fromkeys(self._teachers, 0)
        while True:
            await asyncio.sleep(self._measure_seconds)
            for identity, teacher in self._teachers.items():
                if teacher.engine.statistics().runs == seen[identity]:
                    try:
                        await teacher.measure(self._measure_seconds)
                    except DeadlinePassed:
                        # Other programs keep the processors busy; the teacher is as slow as the
                        # model says.
                        pass
                    except Exception:  # one teacher's fault must not stop measuring the others
                        log.exception("the teacher failed")
                    self._tell()
                seen[identity] = teacher.engine.statistics().runs

    def _tell(self) -> None:
        """Tell every worker what has changed since the last report."""
        for identity, teacher in self._teachers.items():
            engine = teacher.engine
            content = pack_outlook(identity, engine.outlook(), engine.statistics())
            told = Frame(Said.OUTLOOK, 0, content).packed()
            if self._told.get(identity) != told:
                self._told[identity] = told
                for writer in self._writers:
                    writer.write(told)


def _forget(tasks: dict[int, asyncio.Task[None]], number: int, _: asyncio.Task[None]) -> None:
    tasks.pop(number, None)
