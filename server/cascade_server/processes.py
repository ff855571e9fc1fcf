"""The lives of processes: workers that answer, the teacher, and who keeps the books."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from cascade_jobs.ledger.owners import dismiss

from cascade_server.addresses import host_port, servers_of
from cascade_server.cascade.repository import Loaded, Repository
from cascade_server.config import ServerConfig
from cascade_server.consistency import check_exposure
from cascade_server.counts.metering import ProcessMeter
from cascade_server.counts.shared.books import Books
from cascade_server.counts.sla import Sla
from cascade_server.engines.teacher_process import TeacherServer
from cascade_server.jobs.courtesy import Courtesy
from cascade_server.jobs.directing import JobsDirector
from cascade_server.jobs.process import execute, next_work, owners_of
from cascade_server.keeping import METRICS, PAGE, keeper, run_life
from cascade_server.releases.found import Folder, Source
from cascade_server.releases.generation import Generation, ReleaseConfig
from cascade_server.releases.generations import Generations
from cascade_server.releases.listing import Told
from cascade_server.server import Server
from cascade_server.services.guarded import Files
from cascade_server.supervision import loading
from cascade_server.supervision.control import Control
from cascade_server.supervision.crews import Begin, Post, Role
from cascade_server.supervision.listening import (
    listen,
    local_socket,
    own_folder,
    reserve,
)
from cascade_server.supervision.placement import Placement
from cascade_server.supervision.supervisor import KILL_AFTER, Director, Supervisor
from cascade_server.telemetry.span_pipe import SpanPipe
from cascade_server.telemetry.telemetry import Telemetry
from cascade_server.terms import Tier
from cascade_server.transport.tls.credentials import Credentials

if TYPE_CHECKING:
    pass

# The teacher has what the workers leave of the processors.
TEACHER_NICENESS = 19


def serve_in_processes(
    config: ServerConfig,
    workers: int,
    say: Callable[[str], None],
    releases: ReleaseConfig | None = None,
    source: Source | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP looks at the repository again.

    Args:
        config: of the server; with port 0, all workers listen on the same free one.
        workers: processes that answer calls; the teacher has one more, unless other servers run the
            networks.
        say: is told what a person at the terminal should know.
        releases: what is loaded of the repository, and when.
        source: the repository, if it is not a folder.

    Raises:
        ServerError: it cannot be started, and why.
    """
    check_exposure(config)
    # Read before there is any process, so that what is wrong is said at once; who is started again
    # while the files are broken has these.
    credentials, files = Credentials.of(config), Files.of(config)
    files.check()
    shares = config.transport == "http2"
    take = listen if shares else reserve
    with (
        own_folder() as folder,
        closing(take(config.host, config.port)) as port_of_all,
        local_socket(config.state_dir) as local,
    ):
        port = port_of_all.getsockname()[1]
        listener = port_of_all if shares else None
        shared = replace(
            config, port=port, reuse_port=not shares, teacher_socket=folder / "teacher"
        )
        # Where the first process that answers scrapes has found a port; the next one keeps it.
        metrics: list[int] = []
        # Spans, to the books' keeper: it exports them, or keeps them as exemplars.
        keeps_spans = config.otlp_endpoint is not None or config.metrics_port is not None
        spans = SpanPipe() if keeps_spans else None
        pages: list[int] = []  # and likewise of the operations page

        def roles(generation: Generation) -> Sequence[Role]:
            of_workers = [
                Role(
                    f"worker {number}",
                    partial(
                        worker,
                        generation,
                        workers,
                        number,
                        listener,
                        local,
                        credentials,
                        files,
                        spans,
                    ),
                    left=partial(
                        generation.worker_left, number, generation.slot * workers + number
                    ),
                )
                for number in range(workers)
            ]
            if servers_of(config.runtime):
                return of_workers
            return (*of_workers, the_teacher(generation))

        def the_teacher(generation: Generation) -> Role:
            life = partial(teacher, generation, spans)
            left = generation.books.teacher(generation.slot).leave
            return Role("the teacher", life, last=True, holds_nothing=True, left=left)

        def keeper_of(books: Books) -> Sequence[Role]:
            if {config.state_dir, config.ops_port, spans} == {None}:
                return ()
            life = partial(keeper, shared, books, metrics, pages, credentials, files, spans)
            left = partial(books.left, len(books.places) - 1)
            return (Role("the books' keeper", life, left=left),)

        def told(what: str) -> None:
            for begin, ports in ((METRICS, metrics), (PAGE, pages)):
                if what.startswith(begin):
                    ports[:] = ports or [int(what.rpartition(":")[2].partition("/")[0])]
            say(what)

        def serving() -> None:
            those = "" if workers == 1 else f" with {workers} workers"
            by = "" if credentials is None else " over TLS"
            say(f"serving on {host_port(config.host, port)}{by}{those} (Ctrl-C stops)")

        supervisor = Supervisor(
            lambda: say("draining"),
            config.drain_seconds,
            watching=Told(lambda: director) if config.ops_port is not None else lambda _: None,
        )
        director = Generations(
            shared,
            releases or ReleaseConfig(),
            source or Folder(config.repository),
            workers,
            supervisor,
            roles,
            keeper_of,
            told,
            serving,
        )
        directed: Director = director
        if config.state_dir is not None:
            work = partial(next_work, config)
            directed = JobsDirector(director, supervisor, executors, work)
        supervisor.run(directed, director.begin, director.is_last)
        say("stopped")


def worker(
    generation: Generation,
    workers: int,
    number: int,
    listener: socket.socket | None,
    local: socket.socket | None,
    credentials: Credentials | None,
    files: Files,
    spans: SpanPipe | None,
    post: Post,
    begin: Begin,
) -> None:
    """Answer calls until SIGTERM, or until another generation has taken over; then drain."""
    if begin is Begin.NEXT:
        loading.step_back()
    books, place = generation.books, generation.slot * workers + number
    # The student needs no teacher: who is started again answers, whether or not that one is back.
    config = replace(generation.config, await_teacher=begin is not Begin.AGAIN)

    def report(loaded: Loaded) -> None:
        post.tell(
            loaded=f"  {loaded.table} version {loaded.version}: {loaded.columns} columns, "
            f"verified and warm in {loaded.seconds:.2f} s"
            + (f", student by {loaded.student_by}" if loaded.student_by else "")
            + (f", rows by {loaded.rows_by}" if loaded.student_by and loaded.rows_by else "")
        )

    async def life() -> None:
        books.succeed(place)
        placement = None if generation.board is None else Placement(generation.board, number)
        accept = asyncio.Event()
        orders: dict[str, Callable[[], None]] = {"accept": accept.set}

        def orphaned() -> None:
            server.stop()
            # Who does not end in time is ended by the system, as by the supervisor otherwise.
            signal.alarm(math.ceil(config.drain_seconds + KILL_AFTER))

        control = Control(post, orders, orphaned)
        sla = Sla(config, books=books, place=place)
        telemetry = Telemetry.of(config, spans, f"worker {number}")
        server = Server(
            config, report, sla, placement, listener, control, local, credentials, telemetry, files
        )

        def retire() -> None:
            server.retire()
            post.tell(retired=True)

        orders.update(retire=retire, leave=server.leave)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, server.look_at_files)
        try:
            if begin is Begin.FIRST:
                post.tell(loaded=f"loading {config.repository}")
                loop.add_signal_handler(signal.SIGTERM, server.stop)
                await server.startup()
                post.tell(ready=server.port)
            else:
                # Nobody waits for it yet: SIGTERM ends it at once.
                await server.prepare(turns_of(config) if begin is Begin.NEXT else None)
                loop.add_signal_handler(signal.SIGTERM, server.stop)
                if begin is Begin.NEXT:
                    post.tell(ready=True)
                    await server.until(accept)
                    loading.step_forward()
                await server.take_over()
                post.tell(**{"accepting" if begin is Begin.NEXT else "ready": True})
            await server.main_loop()
        finally:
            await server.shutdown()
            if server.hands_over:
                # To let go of memory takes the system a while, in which others answer.
                loading.yield_to_all()

    run_life(life, post)


def turns_of(config: ServerConfig) -> loading.Turns:
    """In which the processes of a server load beside others that answer."""
    assert config.teacher_socket is not None
    return loading.Turns(config.teacher_socket.parent / "loading")


def teacher(generation: Generation, spans: SpanPipe | None, post: Post, begin: Begin) -> None:
    """Answer workers until SIGTERM."""
    os.nice(TEACHER_NICENESS)
    config = generation.config
    path = config.teacher_socket
    assert path is not None
    path.unlink(missing_ok=True)  # an earlier one's, that was killed

    async def life() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        load = partial(
            Repository.load,
            config.repository,
            config.teacher_threads,
            lambda _: None,
            (Tier.TEACHER,),
            wanted=config.versions,
            runtime=config.runtime,
        )
        turns = turns_of(config) if begin is Begin.NEXT else None
        repository = await loading.load(lambda pause: load(pause=pause), turns)
        # Niceness is enough to load. To compute it is not: a worker that wakes to answer would wait
        # until the teacher had its slice, some milliseconds; what is idle is interrupted at once.
        loading.all_yield_to_all()
        tracer = Telemetry.of(config, spans, "teacher").tracer
        server = TeacherServer(
            repository.runtimes,
            path,
            threads=config.teacher_threads,
            tracer=tracer,
            pace=Courtesy(generation.books.answered_in_real_time).rest_after,
        )
        meter = ProcessMeter(generation.books.teacher(generation.slot))
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        orders = {"accept": accepting, "retire": retired, "leave": lambda: None}
        Control(post, orders, orphaned=stop.set)
        await server.start()
        meter.start()
        post.tell(ready=True)
        await stop.wait()
        server.stop()
        await meter.stop()

    def accepting() -> None:
        post.tell(accepting=True)

    def retired() -> None:
        post.tell(retired=True)

    run_life(life, post)


def executors(generation: Generation) -> Sequence[Role]:
    """Who works off jobs beside the processes of a generation. They are killed rather than asked to
    end: what they have begun is begun anew, and what is done is written down."""
    state_dir = generation.config.state_dir
    if state_dir is None:
        return []
    dismissing = partial(dismiss, owners_of(state_dir))
    return [
        Role(
            f"executor {number}",
            partial(executor, generation, number),
            holds_nothing=True,
            rests=True,
            dismissing=dismissing,
        )
        for number in range(generation.config.executors)
    ]


def executor(generation: Generation, number: int, post: Post, _begin: Begin) -> None:
    """Work off jobs, until there are none."""
    books = generation.books
    meter, counts = ProcessMeter(books.executor(number)), books.executors[number]

    async def life() -> None:
        meter.start()
        try:
            await execute(generation.config, post, books.answered_in_real_time, counts)
        finally:
            await meter.stop()

    run_life(life, post)
