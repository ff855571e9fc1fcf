"""Whether an input was taken as it should be: what it raised, logged, took and kept."""

from __future__ import annotations

import logging
import resource
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# Of memory that a process has at most while it reads one input, more than before. What the targets
# themselves are allowed to make of a few kilobytes, a row codec's answers for one, is far below.
MOST_GROWTH_BYTES = 256 * 2**20
# Who says in the log what nobody has foreseen. asyncio tells of exceptions that nobody took.
LOGGERS = ("cascade", "asyncio")


class Defect(Exception):
    """An input did what no input may.

    Attributes:
        mark: equal for what is likely to be the same defect.
    """

    def __init__(self, what: str, mark: str) -> None:
        super().__init__(what)
        self.mark = mark


@dataclass(frozen=True)
class Bounds:
    """What an input may cost.

    Attributes:
        seconds: of processor time, of all threads; None: whatever it takes.
        growth: bytes of memory; None: likewise.
    """

    seconds: float | None = None
    growth: int | None = None


class _Heard(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info or record.name == "asyncio":
            self.records.append(record)


@contextmanager
def listening() -> Iterator[Callable[[], list[logging.LogRecord]]]:
    """Hear the log; yields what gives, and forgets, what has been logged as an error."""
    heard = _Heard()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [each.propagate for each in loggers]
    for each in loggers:
        each.addHandler(heard)
        each.propagate = False

    def taken() -> list[logging.LogRecord]:
        records, heard.records = heard.records, []
        return records

    try:
        yield taken
    finally:
        for each, propagates in zip(loggers, before, strict=True):
            each.removeHandler(heard)
            each.propagate = propagates


def judge(
    run: Callable[[bytes], None],
    data: bytes,
    taken: Callable[[], list[logging.LogRecord]],
    bounds: Bounds,
) -> None:
    """Have one input read.

    Args:
        run: a target's function.
        data: the input.
        taken: of `listening`.
        bounds: what it may cost.

    Raises:
        Defect: it did what no input may.
    """
    began, peak = time.process_time(), _peak()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run(data)
    except Exception as exc:
        raise Defect("".join(traceback.format_exception(exc)), mark_of(exc)) from exc
    finally:
        records = taken()
    if records:
        raise _logged(records[0])
    took, grown = time.process_time() - began, _peak() - peak
    if bounds.seconds is not None and took > bounds.seconds:
        raise Defect(f"it took {took:.1f} s of a processor; {bounds.seconds:g} are allowed", "slow")
    if bounds.growth is not None and grown > bounds.growth:
        raise Defect(f"it took {grown >> 20} MiB of memory", "memory")


def _logged(record: logging.LogRecord) -> Defect:
    message = record.getMessage()
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return Defect(f"logged: {message}", f"log {record.name} {record.msg}")
    text = "".join(traceback.format_exception(error))
    return Defect(f"logged: {message}\n{text}", mark_of(error))


def mark_of(error: BaseException) -> str:
    """A kind of error and the innermost place of ours where it came up."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "cascade_" in frame.filename]
    place = (ours or frames or [None])[-1]
    where = "" if place is None else f" {place.filename.rpartition('/')[2]} {place.name}"
    return f"{type(error).__name__}{where}"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
