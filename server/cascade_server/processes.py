"""The lives of a server's processes: workers that answer calls, and the teacher beside them."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from cascade_proto import synthesis_pb2 as pb
from cascade_tables import CascadeTablesError

from cascade_server.answer_metrics import AnswersCollector
from cascade_server.books import Books
from cascade_server.config import ServerConfig
from cascade_server.errors import ServerError
from cascade_server.memory import Memory
from cascade_server.metrics import SteppingCollector
from cascade_server.placement import Board, Placement
from cascade_server.repository import Loaded, Repository
from cascade_server.router import Tier
from cascade_server.server import Server
from cascade_server.sla import Sla, open_books
from cascade_server.supervisor import Role, Supervisor, Tell, reserve
from cascade_server.teacher_process import TeacherServer

# The teacher has what the workers leave of the processors.
TEACHER_NICENESS = 19


def serve_in_processes(config: ServerConfig, workers: int, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        config: of the server; with port 0, all workers listen on the same free one.
        workers: processes that answer calls; the teacher has one more.
        say: is told what a person at the terminal should know.

    Raises:
        ServerError: it cannot be started, and why.
    """
    with (
        tempfile.TemporaryDirectory(prefix="cascade-") as folder,
        closing(reserve(config.host, config.port)) as reserved,
    ):
        path = Path(folder) / "teacher.sock"
        port = reserved.getsockname()[1]
        shared = replace(config, port=port, reuse_port=True, teacher_socket=path)
        books = open_books(config, workers)
        board = None
        # grpcio does not hand over what it has accepted.
        if workers > 1 and config.transport == "http2":
            board = Board(workers, Memory(shared=True))
        # Where the first process that answers scrapes has found a port; the next one keeps it.
        metrics: list[int] = []
        names = [f"worker {number}" for number in range(workers)]
        roles = [
            Role(name, partial(worker, shared, books, board, number))
            for number, name in enumerate(names)
        ]
        roles.append(Role("the teacher", partial(teacher, config, books, path, metrics), last=True))

        def said(role: Role, what: dict[str, Any]) -> None:
            # All workers load the same; one of them says so.
            if "loaded" in what and role.name == names[0]:
                say(what["loaded"])
            if what.get("metrics") is not None and not metrics:
                metrics.append(what["metrics"])
                say(f"metrics on http://{config.host}:{what['metrics']}/metrics")

        def all_ready() -> None:
            of = "" if workers == 1 else f" with {workers} workers"
            say(f"serving on {config.host}:{port}{of} (Ctrl-C stops)")

        grace = config.drain_seconds
        Supervisor(roles, said, all_ready, lambda: say("draining"), grace).run()
        if board is not None:
            board.close()
        say("stopped")


def worker(
    config: ServerConfig, books: Books, board: Board | None, place: int, tell: Tell, again: bool
) -> None:
    """Answer calls until SIGTERM, then drain."""
    # The student needs no teacher: who is started again answers, whether or not that one is back.
    config = replace(config, await_teacher=not again)

    def report(loaded: Loaded) -> None:
        tell(
            {
                "loaded": f"  {loaded.table} version {loaded.version}: {loaded.columns} columns, "
                f"verified and warm in {loaded.seconds:.2f} s"
            }
        )

    async def life() -> None:
        books.succeed(place)
        placement = None if board is None else Placement(board, place)
        server = Server(config, report, Sla(config, books=books, place=place), placement)
        tell({"loaded": f"loading {config.repository}"})
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
        try:
            await server.startup()
            # What has been made so far is here to stay: no collection need look at it again.
            gc.collect()
            gc.freeze()
            tell({"ready": server.port})
            await server.main_loop()
        finally:
            await server.shutdown()

    _run(life, tell)


def teacher(
    config: ServerConfig,
    books: Books,
    path: Path,
    metrics: list[int],
    tell: Tell,
    _again: bool,
) -> None:
    """Answer workers until SIGTERM; and do what one process does for all of them.

    That is to keep the state file, and to answer scrapes.
    """
    os.nice(TEACHER_NICENESS)
    path.unlink(missing_ok=True)  # an earlier one's, that was killed

    async def life() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        load = partial(
            Repository.load,
            config.repository,
            config.teacher_threads,
            lambda _: None,
            (Tier.TEACHER,),
            config.runtime,
        )
        place = len(books.places) - 1
        of_port = replace(config, metrics_port=metrics[0]) if metrics else config
        sla = Sla(of_port, books=books, place=place)
        try:
            await sla.start()
            if sla.metrics is not None:
                statistics = partial(books.statistics, pb.GetStatisticsResponse(), place)
                for collector in (AnswersCollector, SteppingCollector):
                    sla.metrics.registry.register(collector(statistics))
                tell({"metrics": sla.metrics_port})
            server = TeacherServer(await loop.run_in_executor(None, load), path)
            await server.start()
            gc.collect()
            gc.freeze()
            tell({"ready": True})
            await stop.wait()
            server.stop()
        finally:
            await sla.stop()

    _run(life, tell)


def _run(life: Callable[[], Any], tell: Tell) -> None:
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(life())
    except (ServerError, CascadeTablesError) as exc:
        tell({"error": str(exc)})
        raise SystemExit(1) from exc
