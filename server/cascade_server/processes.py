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
from cascade_tables import CascadeTablesError

from cascade_server.config import ServerConfig
from cascade_server.errors import ServerError
from cascade_server.repository import Loaded, Repository
from cascade_server.router import Tier
from cascade_server.server import Server
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
        names = [f"worker {number}" for number in range(workers)]
        roles = [
            Role(name, partial(worker, of_worker(shared, number, workers)))
            for number, name in enumerate(names)
        ]
        roles.append(Role("the teacher", partial(teacher, config, path), last=True))

        def said(role: Role, what: dict[str, Any]) -> None:
            # All workers load the same; one of them says so.
            if "loaded" in what and role.name == names[0]:
                say(what["loaded"])
            if what.get("metrics") is not None:
                say(f"metrics of {role.name} on http://{config.host}:{what['metrics']}/metrics")

        def all_ready() -> None:
            of = "" if workers == 1 else f" with {workers} workers"
            say(f"serving on {config.host}:{port}{of} (Ctrl-C stops)")

        grace = config.drain_seconds
        Supervisor(roles, said, all_ready, lambda: say("draining"), grace).run()
        say("stopped")


def of_worker(config: ServerConfig, number: int, workers: int) -> ServerConfig:
    """A worker's own configuration: what only one process can have is its own."""
    if workers == 1:
        return config
    metrics_port, state_dir = config.metrics_port, config.state_dir
    return replace(
        config,
        metrics_port=metrics_port + number if metrics_port else metrics_port,
        state_dir=state_dir / f"worker-{number}" if state_dir is not None else None,
    )


def worker(config: ServerConfig, tell: Tell) -> None:
    """Answer calls until SIGTERM, then drain."""

    def report(loaded: Loaded) -> None:
        tell(
            {
                "loaded": f"  {loaded.table} version {loaded.version}: {loaded.columns} columns, "
                f"verified and warm in {loaded.seconds:.2f} s"
            }
        )

    async def life() -> None:
        server = Server(config, report)
        tell({"loaded": f"loading {config.repository}"})
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
        try:
            await server.startup()
            # What has been made so far is here to stay: no collection need look at it again.
            gc.collect()
            gc.freeze()
            tell({"ready": server.port, "metrics": server.sla.metrics_port})
            await server.main_loop()
        finally:
            await server.shutdown()

    _run(life, tell)


def teacher(config: ServerConfig, path: Path, tell: Tell) -> None:
    """Answer workers until SIGTERM."""
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
        )
        server = TeacherServer(await loop.run_in_executor(None, load), path)
        await server.start()
        gc.collect()
        gc.freeze()
        tell({"ready": True})
        await stop.wait()
        server.stop()

    _run(life, tell)


def _run(life: Callable[[], Any], tell: Tell) -> None:
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(life())
    except (ServerError, CascadeTablesError) as exc:
        tell({"error": str(exc)})
        raise SystemExit(1) from exc
