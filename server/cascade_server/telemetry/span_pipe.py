"""The pipe that carries spans from all processes of a server to the one that exports them.

It is created before the processes fork. Sending a record is one system call that never waits. If
the reader is behind, gone or restarting, records that do not fit are dropped and counted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from cascade_server.memory import Memory
from cascade_server.telemetry.records import Record, pack, unpack

# Most bytes in the pipe; some hundred milliseconds of a server that traces every call.
PIPE_BYTES = 1024 * 1024
READ_BYTES = 64 * 1024


class SpanPipe:
    """Records of all processes, for one reader.

    Attributes:
        reader: file descriptor to read from, non-blocking.
        bytes: the most bytes that it holds.
    """

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        for end in (self.reader, self._writer):
            os.set_blocking(end, False)
        with contextlib.suppress(OSError):  # more than this user's limit; it stays at 64 KiB
            fcntl.fcntl(self._writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.bytes = fcntl.fcntl(self._writer, fcntl.F_GETPIPE_SZ)
        # If two processes add at the same time, one count may be lost: the number is only an
        # indication.
        self._dropped = Memory(shared=True).integers(1)
        self._rest = b""

    @property
    def dropped(self) -> int:
        """Number of records that did not fit, from all processes."""
        return int(self._dropped[0])

    def send(self, record: Record) -> None:
        """Send a record, or drop it."""
        try:
            os.write(self._writer, pack(record))
        except OSError:  # the pipe is full
            self._dropped[0] += 1

    def receive(self) -> list[Record]:
        """Return the records that have arrived, without waiting."""
        try:
            content = os.read(self.reader, READ_BYTES)
        except BlockingIOError:
            return []
        *lines, self._rest = (self._rest + content).split(b"\n")
        return [record for line in lines if (record := unpack(line)) is not None]

    def close(self) -> None:
        """Close both ends."""
        os.close(self.reader)
        os.close(self._writer)
