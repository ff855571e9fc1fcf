"""Several processes as one server: workers that share a port, and the teacher beside them.

The supervisor forks before anything of gRPC or ONNX Runtime exists, and has no event loop. A child
tells it over a pipe, in lines of JSON, what it has loaded, that it is ready, or why it cannot be.
Whoever dies is started again, at once the first time; who dies before all have been ready ends the
whole. Children are told by the kernel when the supervisor is gone, and drain.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cascade_server.errors import ConfigError, ServerError
from cascade_server.restarts import RestartConfig, Restarts, ended

log = logging.getLogger("cascade.server")

PR_SET_PDEATHSIG = 1
# Seconds beyond the drain that a child gets before it is killed.
KILL_AFTER = 5.0

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Role:
    """What a child does.

    Attributes:
        name: for the log.
        run: the child's life, in the child; is given the way to tell the supervisor things, and
            whether all had been ready before it was started.
        last: whether it is stopped after all that are not.
    """

    name: str
    run: Callable[[Tell, bool], None]
    last: bool = False


@dataclass
class Child:
    """A role and the process that has it now; pid 0: none has."""

    role: Role
    pid: int = 0
    pipe: int = -1
    began: float = 0.0
    ready: bool = False
    restarts: Restarts = field(default_factory=Restarts)
    ended: float = 0.0
    start_at: float = 0.0
    unread: bytes = b""


class Supervisor:
    """Starts the roles, starts again who dies, stops them all.

    Args:
        roles: who is to be there.
        said: is told what children say, by role.
        all_ready: is told once, when each of them is.
        draining: is told when they are asked to stop.
        grace: seconds that they may take to drain.
        config: of starting again.
    """

    def __init__(
        self,
        roles: Sequence[Role],
        said: Callable[[Role, dict[str, Any]], None],
        all_ready: Callable[[], None],
        draining: Callable[[], None],
        grace: float,
        config: RestartConfig | None = None,
    ) -> None:
        self._children = [Child(role) for role in roles]
        self._said, self._all_ready, self._draining = said, all_ready, draining
        self._grace = grace
        self._config = config or RestartConfig()
        self._selector = selectors.DefaultSelector()
        self._started = self._stopping = False

    def run(self) -> None:
        """Until SIGTERM or SIGINT; returns when all children have ended.

        Raises:
            ServerError: a child could not start; its own words.
        """
        wakeup, signals = os.pipe()
        os.set_blocking(wakeup, False)
        os.set_blocking(signals, False)
        before = signal.set_wakeup_fd(signals, warn_on_full_buffer=False)
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
        handlers = {number: signal.signal(number, self._on_signal) for number in numbers}
        self._selector.register(wakeup, selectors.EVENT_READ)
        try:
            self._look_after(wakeup)
            self._draining()
        finally:
            self._end_all()
            signal.set_wakeup_fd(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            self._selector.close()
            os.close(wakeup)
            os.close(signals)

    def _on_signal(self, number: int, _frame: Any) -> None:
        if number != signal.SIGCHLD:
            self._stopping = True

    def _look_after(self, wakeup: int) -> None:
        while not self._stopping:
            now = time.monotonic()
            for child in self._children:
                if not child.pid and child.start_at <= now:
                    self._start(child)
            due = [child.start_at - now for child in self._children if not child.pid]
            for key, _ in self._selector.select(max(0.0, min(due)) if due else None):
                if key.fd == wakeup:
                    os.read(wakeup, 4096)
                else:
                    self._hear(key.data)
            self._reap()
            if not self._started and all(child.ready for child in self._children):
                self._started = True
                self._all_ready()

    def _start(self, child: Child) -> None:
        read, write = os.pipe()
        supervisor = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            _live(child.role, write, supervisor, self._started)
        os.close(write)
        os.set_blocking(read, False)
        child.pid, child.pipe, child.unread = pid, read, b""
        child.began, child.ready = time.monotonic(), False
        self._selector.register(read, selectors.EVENT_READ, child)

    def _hear(self, child: Child) -> None:
        content = os.read(child.pipe, 65_536)
        if not content:
            self._selector.unregister(child.pipe)
            return
        *lines, child.unread = (child.unread + content).split(b"\n")
        for line in lines:
            said = json.loads(line)
            if "error" in said and not self._started:
                raise ServerError(said["error"])
            if "error" in said:
                log.error("%s cannot start: %s", child.role.name, said["error"])
            if "ready" in said:
                child.ready = True
                if self._started:
                    away = time.monotonic() - child.ended
                    log.warning("%s is ready again, after %.2f s", child.role.name, away)
            self._said(child.role, said)

    def _reap(self) -> None:
        for child in self._children:
            if not child.pid:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid == 0:
                continue
            child.pid = 0
            self._hang_up(child)
            how = describe(status)
            if not self._started:
                raise ServerError(f"{child.role.name} {how} before it was ready")
            child.ended = time.monotonic()
            child.restarts, pause = ended(child.restarts, self._config, child.ended - child.began)
            child.start_at = child.ended + pause
            log.warning("%s (process %d) %s; starting it again", child.role.name, pid, how)

    def _hang_up(self, child: Child) -> None:
        """Close the pipe of a child that has ended, after what it said last."""
        try:
            if child.pipe in self._selector.get_map():
                self._hear(child)
        finally:
            if child.pipe in self._selector.get_map():
                self._selector.unregister(child.pipe)
            os.close(child.pipe)

    def _end_all(self) -> None:
        """Stop the children, those that others depend on last; kill who does not stop."""
        for last in (False, True):
            left = [child for child in self._children if child.pid and child.role.last is last]
            for child in left:
                os.kill(child.pid, signal.SIGTERM)
            until = time.monotonic() + self._grace + KILL_AFTER
            for child in left:
                _wait(child.pid, until)
                os.close(child.pipe)
                child.pid = 0


def _live(role: Role, write: int, supervisor: int, again: bool) -> None:
    """A child's life; does not return."""
    code = 1
    try:
        # Ctrl-C is sent to the whole group; the supervisor passes it on as SIGTERM.
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == supervisor:

            def tell(what: dict[str, Any]) -> None:
                os.write(write, json.dumps(what).encode() + b"\n")

            role.run(tell, again)
            code = 0
    except SystemExit:
        pass  # it has said why
    except BaseException:
        log.exception("%s failed", role.name)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: what the supervisor has open is not this process's to clean up.
        os._exit(code)


def _wait(pid: int, until: float) -> None:
    """Until a process has ended; it is killed when its time is over."""
    file = os.pidfd_open(pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(file, selectors.EVENT_READ)
            if not selector.select(max(0.0, until - time.monotonic())):
                os.kill(pid, signal.SIGKILL)
    finally:
        os.close(file)
    os.waitpid(pid, 0)


def describe(status: int) -> str:
    """How a process ended, in words."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with status {code}"


def reserve(host: str, port: int) -> socket.socket:
    """Keep a port for workers that listen on it with SO_REUSEPORT; 0: any free one.

    The socket does not listen, and so is given no connection.

    Raises:
        ConfigError: another server has it.
    """
    address = (host, port)
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    try:
        with socket.socket(family, socket.SOCK_STREAM) as alone:
            # Without SO_REUSEPORT: two servers on one port would each get some of the calls. A
            # connection that is only waiting to be forgotten is no server.
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
            address = alone.getsockname()[:2]
        kept = socket.socket(family, socket.SOCK_STREAM)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(address)
    except OSError as exc:
        raise ConfigError(f"cannot listen on {host}:{port}: is the port taken?") from exc
    return kept
