"""Lines of the log: text for people, or JSON, an object a line, for who collects them.

Whatever a name or a message holds, a line stays one line, of some kilobytes at most. What callers
sent is not in it: messages of errors, which may quote it, are written at the level `debug` alone.
Passwords of addresses are in no line at any level.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import sys
import time
import traceback
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from cascade_server.telemetry.rate_limit import RateLimit

# Characters of a message, and of where an error came from; of that the end counts.
LONGEST_MESSAGE, LONGEST_TRACE = 1000, 2500
PASSWORD = re.compile(r"(://[^\s/:@]*):[^\s/@]+@")
IN_QUERY = re.compile(r"([?&]password=)[^&\s]+", re.IGNORECASE)
HIDDEN = "***"
# All that the whole server says comes under this name.
ROOT = "cascade"


def in_a_line(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """A text that cannot break or rewrite the line that it stands in."""
    if len(text) > longest:
        text = f"{text[:longest]}... (cut; it has {len(text):,} characters)"
    if text.isprintable():
        return text
    # What ends a line somewhere, moves a terminal's cursor, turns the direction of writing, or
    # cannot be encoded.
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class Passwords:
    """Takes passwords out of lines: those of any address, and some that are known.

    Args:
        addresses: whose passwords are known.
    """

    def __init__(self, addresses: Iterable[str] = ()) -> None:
        self._known = {word for each in addresses if (word := _password(each))}

    def hidden(self, text: str) -> str:
        """The text without them."""
        text = IN_QUERY.sub(rf"\1{HIDDEN}", PASSWORD.sub(rf"\1:{HIDDEN}@", text))
        for word in self._known:
            text = text.replace(word, HIDDEN)
        return text


def _password(address: str) -> str | None:
    try:
        return urlsplit(address).password
    except ValueError:
        return None


def described(error: BaseException, with_messages: bool) -> str:
    """Where an error came from, and of what kind it is; what it says only where that is asked for,
    or it is the operating system's."""
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        says = with_messages or isinstance(current, OSError)
        kind = f"{type(current).__module__}.{type(current).__qualname__}".removeprefix("builtins.")
        head = f"{kind}: {in_a_line(str(current))}" if says else kind
        parts.append("".join(traceback.format_tb(current.__traceback__)) + head)
        hides = current.__suppress_context__
        current = current.__cause__ or (None if hides else current.__context__)
    return "\n".join(reversed(parts))[-LONGEST_TRACE:]


class Lines(logging.Formatter):
    """What both formats have in common.

    Args:
        passwords: takes them out.
        debug: whether errors are written with what they say.
    """

    def __init__(self, passwords: Passwords | None = None, debug: bool = False) -> None:
        super().__init__()
        self._passwords, self._debug = passwords or Passwords(), debug

    def parts(self, record: logging.LogRecord) -> tuple[str, Mapping[str, Any], str]:
        """Its message, what else is known, and where its error came from; all safe in a line but
        for the last one's own ends of lines."""
        fields: dict[str, Any] = {}
        for name, value in getattr(record, "fields", {}).items():
            fields[name] = self._safe(value) if isinstance(value, str) else value
        if suppressed := getattr(record, "suppressed", 0):
            fields["suppressed"] = suppressed
        error = record.exc_info[1] if record.exc_info else None
        trace = "" if error is None else described(error, self._debug)
        trace = "\n".join(map(self._safe, trace.split("\n"))) if trace else ""
        return self._safe(record.getMessage()), fields, trace

    def _safe(self, text: str) -> str:
        return in_a_line(self._passwords.hidden(text))


class Text(Lines):
    """`WARNING cascade.calls: a call was refused code=UNAVAILABLE table=credit`."""

    def format(self, record: logging.LogRecord) -> str:
        """A line; more where there is an error."""
        message, fields, trace = self.parts(record)
        more = "".join(f" {name}={_word(value)}" for name, value in fields.items())
        line = f"{record.levelname} {record.name}: {message}{more}"
        return f"{line}\n{trace}" if trace else line


def _word(value: Any) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(each in text for each in ' ="') else text


class Json(Lines):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON for a record."""
        message, fields, trace = self.parts(record)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        said: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
            "process": record.processName,
            "pid": record.process,
        }
        said |= {name: value for name, value in fields.items() if name not in said}
        if trace:
            said["exception"] = trace
        return json.dumps(said, ensure_ascii=False)


class Limited(logging.Filter):
    """Has the log say the same thing some times in a while; see `RateLimit`."""

    def __init__(self, limit: RateLimit) -> None:
        super().__init__()
        self._limit = limit

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written; lines that were counted before pass."""
        if hasattr(record, "suppressed"):
            return True
        first = record.args[0] if isinstance(record.args, tuple) and record.args else None
        about = first if isinstance(first, str) else type(first).__name__
        suppressed = self._limit.lets((record.name, record.msg, about))
        if suppressed is None:
            return False
        record.suppressed = suppressed
        return True


class Stderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what stands for standard error at the moment, and waits for nobody to read it.

    Whoever collects the lines may hang, and a pipe that nobody reads is full after some hundred of
    them: a process that waited to write one more would answer nothing until it is read. What has no
    room is dropped, and how much was is the first that is said when there is room again. (Two
    processes that find the last room of one pipe at once do not see each other.)
    """

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        # Lines that were dropped, and whether the last one that was not was cut off.
        self._dropped, self._is_cut = 0, False

    @property
    def stream(self) -> Any:
        """Standard error as it is now, which tests and forked processes replace."""
        return sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or drop it."""
        try:
            descriptor = self.stream.fileno()
        except (AttributeError, OSError, ValueError):  # it is no file of the system's
            super().emit(record)
            return
        try:
            if not has_room(descriptor):
                self._dropped += 1
                return
            if self._dropped:
                said = logging.makeLogRecord(
                    {
                        "name": "cascade.server",
                        "levelno": logging.WARNING,
                        "levelname": "WARNING",
                        "msg": "lines of the log were dropped: nobody read them",
                        "fields": {"lines": self._dropped},
                    }
                )
                self._dropped = 0
                self._write(descriptor, self.format(said))
            self._write(descriptor, self.format(record))
        except BlockingIOError:  # whoever shares it has had it never wait
            self._dropped += 1
        except Exception:  # as logging's own: who logs is not to fail by a line
            self.handleError(record)

    def _write(self, descriptor: int, line: str) -> None:
        begin = "\n" if self._is_cut else ""
        content = f"{begin}{line}\n".encode("utf-8", "backslashreplace")
        self._is_cut = False
        for start in range(0, len(content), select.PIPE_BUF):
            if not has_room(descriptor):
                self._dropped, self._is_cut = self._dropped + 1, start > 0
                return
            os.write(descriptor, content[start : start + select.PIPE_BUF])


def has_room(descriptor: int) -> bool:
    """Whether as much as a pipe takes at once can be written without a wait."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))


_ours: list[logging.Handler] = []
# Of this process; those that it forks go on with a copy.
LIMIT = RateLimit()


def configure(style: str, level: str, addresses: Iterable[str] = ()) -> None:
    """Have all loggers of this process, and of those that it forks, write lines.

    Args:
        style: "text" or "json".
        level: of what is written, as the setting `log_level` has it. Of other libraries it is
            warnings and errors at most.
        addresses: whose passwords are in no line, wherever they came from.
    """
    lowest = getattr(logging, level.upper())
    lines = (Json if style == "json" else Text)(Passwords(addresses), lowest <= logging.DEBUG)
    handler = Stderr()
    handler.setFormatter(lines)
    handler.addFilter(Limited(LIMIT))
    root = logging.getLogger()
    for earlier in _ours:
        root.removeHandler(earlier)
    _ours[:] = [handler]
    root.addHandler(handler)
    root.setLevel(max(lowest, logging.WARNING))
    logging.getLogger(ROOT).setLevel(lowest)
    logging.captureWarnings(style == "json")
    if style == "json":
        sys.excepthook = _unhandled


def _unhandled(_kind: type[BaseException], error: BaseException, _trace: Any) -> None:
    logging.getLogger("cascade.server").critical("an error that nobody handled", exc_info=error)


def line_of(message: str) -> str:
    """What a server says to the terminal, as a line of JSON."""
    record = logging.LogRecord("cascade.serve", logging.INFO, "", 0, message, (), None)
    return Json().format(record)


def tell_suppressed() -> None:
    """Say how many lines were not written, of kinds of which no more have come since."""
    for kind, suppressed in LIMIT.overdue():
        name, what, *more = kind if isinstance(kind, tuple) else (ROOT, str(kind))
        about = {"about": " ".join(filter(None, map(str, more)))} if more else {}
        extra = {"suppressed": suppressed, "fields": about}
        logging.getLogger(name).warning("more like this: %s", what, extra=extra)
