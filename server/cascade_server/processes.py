"""Starts a server's processes, and defines what each does: workers, teacher, executors.

`serve_in_processes` is `cascade serve`: a supervisor that starts, restarts and stops the others.
`keeping` has the code of the process that keeps the books; a worker runs a `server.Server`.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

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
from cascade_server.keeping import KeeperPorts, keeper, run_life
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

# The teacher uses the processor time that the workers leave.
TEACHER_NICENESS = 19


@dataclass(frozen=True)
class Inherited:
    """The state that a server's processes inherit from the supervisor that forks them.

    Attributes:
        config: the settings, with the port and the teacher's socket decided.
        workers: number of processes that answer calls.
        listener: the socket that all workers accept from; None: each listens on the port itself.
        local: the socket `control.sock`, for users who may open it; None: there is none.
        credentials: TLS credentials; None: no TLS.
        files: the files that settings name, as last read. A process that restarts while a file is
            invalid uses the previous content.
        spans: delivers traces' spans to the keeper; None: spans are not collected.
        keeper_ports: the keeper's HTTP ports.
    """

    config: ServerConfig
    workers: int
    listener: socket.socket | None
    local: socket.socket | None
    credentials: Credentials | None
    files: Files
    spans: SpanPipe | None
    keeper_ports: KeeperPorts

    def generation_roles(self, generation: Generation) -> Sequence[Role]:
        """Return a generation's processes: workers, and a teacher unless networks are remote."""
        workers = [self._worker(generation, number) for number in range(self.workers)]
        if servers_of(self.config.runtime):
            return workers
        return (*workers, self._teacher(generation))

    def _worker(self, generation: Generation, number: int) -> Role:
        place = generation.slot * self.workers + number
        return Role(
            f"worker {number}",
            partial(worker, generation, number, place, self),
            left=partial(generation.worker_left, number, place),
        )

    def _teacher(self, generation: Generation) -> Role:
        return Role(
            "the teacher",
            partial(teacher, generation, self.spans),
            last=True,
            holds_nothing=True,
            left=generation.books.teacher(generation.slot).leave,
        )

    def keeper_roles(self, books: Books) -> Sequence[Role]:
        """Return the keeper process; none if there is nothing to keep, show or export."""
        if {self.config.state_dir, self.config.ops_port, self.spans} == {None}:
            return ()
        life = partial(
            keeper, self.config, books, self.keeper_ports, self.credentials, self.files, self.spans
        )
        left = partial(books.left, len(books.places) - 1)
        return (Role("the books' keeper", life, left=left),)


def serve_in_processes(
    config: ServerConfig,
    workers: int,
    say: Callable[[str], None],
    releases: ReleaseConfig | None = None,
    source: Source | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP triggers a search for new releases.

    Args:
        config: the settings; with port 0, all workers listen on the same free port.
        workers: number of processes that answer calls; the teacher has one more, unless other
            servers run the networks.
        say: writes messages to the terminal.
        releases: which releases of the repository to load, and when.
        source: the repository; None: the folder that the settings name.

    Raises:
        ServerError: the server cannot be started; says why.
    """
    check_exposure(config)
    # Read before any process starts, so that errors in them are reported at once.
    credentials, files = Credentials.of(config), Files.of(config)
    files.check()
    shares_listener = config.transport == "http2"
    take_port = listen if shares_listener else reserve
    with (
        own_folder() as folder,
        closing(take_port(config.host, config.port)) as port_of_all,
        local_socket(config.state_dir) as local,
    ):
        port = port_of_all.getsockname()[1]
        # The keeper exports spans, or keeps them as exemplars of the metrics.
        keeps_spans = config.otlp_endpoint is not None or config.metrics_port is not None
        inherited = Inherited(
            replace(
                config,
                port=port,
                reuse_port=not shares_listener,
                teacher_socket=folder / "teacher",
            ),
            workers,
            port_of_all if shares_listener else None,
            local,
            credentials,
            files,
            SpanPipe() if keeps_spans else None,
            KeeperPorts(),
        )
        _supervise(inherited, say, releases or ReleaseConfig(), source or Folder(config.repository))
        say("stopped")


def _supervise(
    inherited: Inherited, say: Callable[[str], None], releases: ReleaseConfig, source: Source
) -> None:
    """Start a server's processes, and restart, replace and stop them until the server ends."""
    config, workers = inherited.config, inherited.workers

    def from_processes(message: str) -> None:
        inherited.keeper_ports.note(message)
        say(message)

    def serving() -> None:
        over = "" if inherited.credentials is None else " over TLS"
        processes = "" if workers == 1 else f" with {workers} workers"
        say(f"serving on {host_port(config.host, config.port)}{over}{processes} (Ctrl-C stops)")

    supervisor = Supervisor(
        lambda: say("draining"),
        config.drain_seconds,
        watching=Told(lambda: director) if config.ops_port is not None else lambda _: None,
    )
    director = Generations(
        config,
        releases,
        source,
        workers,
        supervisor,
        inherited.generation_roles,
        inherited.keeper_roles,
        from_processes,
        serving,
    )
    directed: Director = director
    if config.state_dir is not None:
        directed = JobsDirector(director, supervisor, executors, partial(next_work, config))
    supervisor.run(directed, director.begin, director.is_last)


def worker(
    generation: Generation,
    number: int,
    place: int,
    inherited: Inherited,
    post: Post,
    begin: Begin,
) -> None:
    """Answer calls until SIGTERM, or until another generation has taken over; then drain.

    Args:
        generation: the releases to load, and the counts to write.
        number: the worker's index among the workers, from 0.
        place: its index among all places of the books.
        inherited: the state shared with the other processes.
        post: the connection to the supervisor.
        begin: whether it is the first, follows another one, or replaces one that died.
    """
    if begin is Begin.NEXT:
        loading.step_back()
    books, spans = generation.books, inherited.spans
    # The student works without the teacher, so a restarted worker does not wait for it.
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
            # In place of the supervisor, the system kills a worker that drains for too long.
            signal.alarm(math.ceil(config.drain_seconds + KILL_AFTER))

        control = Control(post, orders, orphaned)
        sla = Sla(config, books=books, place=place)
        telemetry = Telemetry.of(config, spans, f"worker {number}")
        server = Server(
            config,
            report,
            sla,
            placement,
            inherited.listener,
            control,
            inherited.local,
            inherited.credentials,
            telemetry,
            inherited.files,
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
                # The worker answers no calls yet, so until it has loaded, SIGTERM kills it.
                await server.prepare(turns_of(config) if begin is Begin.NEXT else None)
                loop.add_signal_handler(signal.SIGTERM, server.stop)
                if begin is Begin.NEXT:
                    post.tell(ready=True)
                    await server.wait_for_event(accept)
                    loading.step_forward()
                await server.take_over()
                post.tell(**{"accepting" if begin is Begin.NEXT else "ready": True})
            await server.main_loop()
        finally:
            await server.shutdown()
            if server.hands_over:
                # The system takes a while to free the memory; other processes go first.
                loading.yield_to_all()

    run_life(life, post)


def turns_of(config: ServerConfig) -> loading.Turns:
    """Return the turns in which new processes load, one at a time, while others answer."""
    assert config.teacher_socket is not None
    return loading.Turns(config.teacher_socket.parent / "loading")


def teacher(generation: Generation, spans: SpanPipe | None, post: Post, begin: Begin) -> None:
    """Run the teachers of a generation's releases for its workers, until SIGTERM.

    Args:
        generation: the releases to load, and the socket to listen on.
        spans: collects the spans of its batches; None: spans are not collected.
        post: the connection to the supervisor.
        begin: whether other processes answer while it loads.
    """
    os.nice(TEACHER_NICENESS)
    config = generation.config
    path = config.teacher_socket
    assert path is not None
    path.unlink(missing_ok=True)  # left by an earlier teacher that was killed

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
        # Niceness suffices while the teacher loads, but not while it computes: a worker that wakes
        # up would wait some milliseconds for the rest of the teacher's time slice. With idle
        # priority the teacher is interrupted at once.
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
    """Return the processes that execute jobs beside a generation.

    They are killed, not asked to end: finished work is in the ledger, and the rest is redone.
    """
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
    """Execute jobs until there are none."""
    books = generation.books
    meter, counts = ProcessMeter(books.executor(number)), books.executors[number]

    async def life() -> None:
        meter.start()
        try:
            await execute(generation.config, post, books.answered_in_real_time, counts)
        finally:
            await meter.stop()

    run_life(life, post)
