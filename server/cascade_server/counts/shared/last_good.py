"""What a file said when it was last right, for processes that begin while it is not.

A server reads files anew while it serves, and one that is not right changes nothing: what held
before still does. A process that takes the place of another has no before of its own, and without
one it could not begin: a word misspelt would end a server the next time that one of its processes
dies. So whoever reads what is right writes it down where all processes of the server see it.
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
    """What stands before the text.

    Attributes:
        reads: how often the file was read.
        kept: which of these readings the text is of; 0: none was right.
        at, length: where the text is.
    """

    reads: int = 0
    kept: int = 0
    at: int = struct.calcsize("<4Q")
    length: int = 0


class LastGood(Generic[T]):
    """A file's content, and what it was when it was last right; made before processes part.

    Any of them may read; of one process, one thread at a time.

    Args:
        read: gives the file's text; raises ConfigError.
        parse: gives what a text says; raises ConfigError where that is not right.
    """

    def __init__(self, read: Callable[[], str], parse: Callable[[str], T]) -> None:
        # In memory: a disk may be full, and a folder of temporary files is swept now and then.
        self._memory = os.memfd_create("cascade-last-good")
        self._read, self._parse = read, parse

    def __del__(self) -> None:
        os.close(self._memory)

    def now(self) -> T:
        """What the file says now.

        Raises:
            ConfigError: it is not right; what it said before is still kept.
        """
        # Readings are numbered as they are done, so that who takes long to parse an older text does
        # not put it in the place of a newer one. To parse takes longer than others should wait.
        with self._alone():
            head = self._head()
            number = head.reads + 1
            self._write(head._replace(reads=number))
            text = self._read()
        found = self._parse(text)
        self._keep(number, text)
        return found

    def to_begin_with(self) -> tuple[T, ConfigError | None]:
        """What holds in a process that begins: what the file says, or else what it said before.

        Returns:
            That, and why the file as it is now does not hold, which is logged; None: it does.

        Raises:
            ConfigError: the file is not right, and never was.
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
            # Before or behind what is kept, which holds until the head says otherwise: whoever is
            # killed meanwhile leaves it whole.
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
        # By process and not by descriptor, which they share; it is let go of whoever is killed.
        fcntl.lockf(self._memory, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._memory, fcntl.LOCK_UN)
