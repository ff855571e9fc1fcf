"""The way of spans from all processes of a server to the one that exports them.

A pipe, made before the processes part: to send a record is one system call that never waits. Where
the reader is behind, away, or being started again, what does not fit is dropped and counted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from cascade_server.memory import Memory
from cascade_server.telemetry.records import Record, pack, unpack

# Bytes that wait at most; some hundred milliseconds of a server whose every call is traced.
PIPE_BYTES = 1024 * 1024
READ_BYTES = 64 * 1024


class SpanPipe:
    """Records of all processes, for one that reads them.

    Attributes:
        reader: file descriptor to read from, which does not block.
        bytes: that it holds at most.
    """

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        for end in (self.reader, self._writer):
            os.set_blocking(end, False)
        with contextlib.suppress(OSError):  # more than this user may have; it stays at 64 KiB
            fcntl.fcntl(self._writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.bytes = fcntl.fcntl(self._writer, fcntl.F_GETPIPE_SZ)
        # Processes may add at the same moment, and one count be lost: it is a sign, not an account.
        self._dropped = Memory(shared=True).integers(1)
        self._rest = b""

    @property
    def dropped(self) -> int:
        """Records that did not fit, of all processes."""
        return int(self._dropped[0])

    def send(self, record: Record) -> None:
        """Send a record on its way, or drop it."""
        try:
            os.write(self._writer, pack(record))
        except OSError:  # it is full
            self._dropped[0] += 1

    def receive(self) -> list[Record]:
        """Records that have come; none is waited for."""
        try:
            content = os.read(self.reader, READ_BYTES)
        except BlockingIOError:
            return []
        *lines, self._rest = (self._rest + content).split(b"\n")
        return [record for line in lines if (record := unpack(line)) is not None]

    def close(self) -> None:
        """Let go of both ends."""
        os.close(self.reader)
        os.close(self._writer)
