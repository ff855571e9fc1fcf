"""The last valid content of a file, for processes that start while the file is invalid.

A server reads files again while it runs, and an invalid file changes nothing: the earlier content
remains in force. A process that replaces another has no earlier content, and could not start
without it: one misspelt word would end a server the next time that one of its processes dies. So
every process that reads valid content stores it where all processes of the server see it.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar

from cascade_server.errors import ConfigError

log = logging.getLogger("cascade.server")

T = TypeVar("T")


class _Head(NamedTuple):
    """The header of the stored text.

    Attributes:
        reads: how often the file was read.
        kept: the number of the reading that the text is from; 0 if none was valid.
        at, length: position of the text.
    """

    reads: int = 0
    kept: int = 0
    at: int = struct.calcsize("<4Q")
    length: int = 0


class LastGood(Generic[T]):
    """A file's content, and its last valid content; create it before the processes fork.

    Any of the processes may read, but in each only one thread at a time.

    Args:
        read: returns the file's text; raises ConfigError.
        parse: returns the parsed text; raises ConfigError if it is invalid.
    """

    def __init__(self, read: Callable[[], str], parse: Callable[[str], T]) -> None:
        # In memory: a disk may be full, and a folder of temporary files may be cleaned up.
        self._memory = os.memfd_create("cascade-last-good")
        self._read, self._parse = read, parse

    def __del__(self) -> None:
        os.close(self._memory)

    def now(self) -> T:
        """Return the file's current content.

        Raises:
            ConfigError: it is invalid; the last valid content is still kept.
        """
        # Readings are numbered when they are made, so that a process that is slow to parse an older
        # text does not overwrite a newer one. Parsing is outside the lock, since others should not
        # wait for it.
        with self._alone():
            head = self._head()
            number = head.reads + 1
            self._write(head._replace(reads=number))
            text = self._read()
        found = self._parse(text)
        self._keep(number, text)
        return found

    def to_begin_with(self) -> tuple[T, ConfigError | None]:
        """Return the content for a process that starts: the file's, or else the last valid one.

        Returns:
            The content, and the logged error that makes the current file invalid; None if it is
            valid.

        Raises:
            ConfigError: the file is invalid, and never was valid.
        """
        try:
            return self.now(), None
        except ConfigError as exc:
            with self._alone():
                head = self._head()
                content = os.pread(self._memory, head.length, head.at)
            if not head.kept:
                raise
            log.error("%s; what held before still does", exc)
            return self._parse(content.decode()), exc

    def _keep(self, number: int, text: str) -> None:
        content = text.encode()
        with self._alone():
            head = self._head()
            if number < head.kept:
                return
            # Before or after the stored text, which stays in force until the header changes: a
            # process that is killed in between leaves it intact.
            first = _Head().at
            at = first if first + len(content) <= head.at else head.at + head.length
            try:
                if os.pwrite(self._memory, content, at) < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self._write(head._replace(kept=number, at=at, length=len(content)))
            except OSError as exc:
                log.error("no room for what a file says now, %d bytes: %s", len(content), exc)

    def _head(self) -> _Head:
        content = os.pread(self._memory, _Head().at, 0)
        return _Head(*struct.unpack("<4Q", content)) if content else _Head()

    def _write(self, head: _Head) -> None:
        os.pwrite(self._memory, struct.pack("<4Q", *head), 0)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # A lock by process and not by descriptor, since the processes share that; it is released if
        # a process is killed.
        fcntl.lockf(self._memory, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._memory, fcntl.LOCK_UN)
