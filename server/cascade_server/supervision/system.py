"""The supervisor's interface to the operating system; tests replace it."""

from __future__ import annotations

import ctypes
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import process

from cascade_server.supervision.crews import Begin, Post, Role

log = logging.getLogger("cascade.server")

PR_SET_PDEATHSIG = 1
# Seconds that the supervisor waits for a member to accept a message.
PATIENCE = 5.0


def start(role: Role, begin: Begin) -> tuple[int, socket.socket]:
    """Fork a process for a role; return its process id, and this end of the connection to it.

    Raises:
        OSError: the system has no room for another process or connection; nothing is left open.
    """
    ours, theirs = socket.socketpair()
    supervisor = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        raise
    if pid == 0:
        ours.close()
        _live(role, theirs, supervisor, begin)
    theirs.close()
    ours.settimeout(PATIENCE)
    return pid, ours


def ended(pid: int) -> int | None:
    """Return how a child has ended, as `os.waitpid` reports it; None if it lives."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return status if found else None


@dataclass(frozen=True)
class System:
    """A clock, and processes.

    Attributes:
        clock: monotonic seconds.
        start, kill, ended: operations on a child process.
        selector: waits for messages of children, with the member as data.
    """

    clock: Callable[[], float] = time.monotonic
    start: Callable[[Role, Begin], tuple[int, socket.socket]] = start
    kill: Callable[[int, int], None] = os.kill
    ended: Callable[[int], int | None] = ended
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)


def _live(role: Role, end: socket.socket, supervisor: int, begin: Begin) -> None:
    """Run a member's process; does not return."""
    code = 1
    try:
        # Ctrl-C is sent to the whole group; the supervisor passes it on as SIGTERM.
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        process.current_process().name = role.name  # lines of the log include it
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == supervisor:
            role.run(Post(end), begin)
            code = 0
    except SystemExit:
        pass  # it has reported why
    except BaseException:  # such as KeyboardInterrupt: `os._exit` reports nothing
        log.exception("%s failed", role.name)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: this process must not clean up what belongs to the supervisor.
        os._exit(code)


def describe(status: int) -> str:
    """Describe how a process ended."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with status {code}"
