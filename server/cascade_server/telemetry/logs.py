"""Log lines: text for people, or JSON for collectors, one object per line.

Whatever a name or message contains, an entry stays one line, of some kilobytes at most. It does not
contain what callers sent: error messages may quote that, and are only written at level `debug`.
Passwords in addresses are removed at every level.
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

# Most characters of a message, and of an error's traceback, whose end is kept.
LONGEST_MESSAGE, LONGEST_TRACE = 1000, 2500
PASSWORD = re.compile(r"(://[^\s/:@]*):[^\s/@]+@")
IN_QUERY = re.compile(r"([?&]password=)[^&\s]+", re.IGNORECASE)
HIDDEN = "***"
# Name of the logger above all loggers of the server.
ROOT = "cascade"


def in_a_line(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """Return a text that cannot break or rewrite its line."""
    if len(text) > longest:
        text = f"{text[:longest]}... (cut; it has {len(text):,} characters)"
    if text.isprintable():
        return text
    # Replaces what might end a line, move a terminal's cursor, change the direction of writing, or
    # fail to encode.
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class Passwords:
    """Removes passwords from lines: those in any address, and known ones.

    Args:
        addresses: addresses whose passwords are known.
    """

    def __init__(self, addresses: Iterable[str] = ()) -> None:
        self._known = {word for each in addresses if (word := _password(each))}

    def hidden(self, text: str) -> str:
        """Return the text without passwords."""
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
    """Describe where an error came from and of what kind it is.

    Its message is included only if requested, or if it is the operating system's.
    """
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
    """The common part of both formats.

    Args:
        passwords: removes them.
        debug: whether errors are written with their messages.
    """

    def __init__(self, passwords: Passwords | None = None, debug: bool = False) -> None:
        super().__init__()
        self._passwords, self._debug = passwords or Passwords(), debug

    def parts(self, record: logging.LogRecord) -> tuple[str, Mapping[str, Any], str]:
        """Return the message, further fields, and the error's traceback.

        All are safe to put on a line, except that the traceback has line ends.
        """
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
        """Format a record as one line, with more lines if there is an error."""
        message, fields, trace = self.parts(record)
        more = "".join(f" {name}={_word(value)}" for name, value in fields.items())
        line = f"{record.levelname} {record.name}: {message}{more}"
        return f"{line}\n{trace}" if trace else line


def _word(value: Any) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(each in text for each in ' ="') else text


class Json(Lines):
    """Formats a record as one JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as one line of JSON."""
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
    """Limits how often the log repeats a message; see `RateLimit`."""

    def __init__(self, limit: RateLimit) -> None:
        super().__init__()
        self._limit = limit

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write a line; lines that were already counted pass."""
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
    """Writes to the current standard error without ever waiting for its reader.

    A log collector may hang, and a pipe without a reader is full after some hundred lines: a
    process that waited to write another would answer nothing until it is read. Lines without room
    are dropped, and the first line written when there is room again is their number. (Two processes
    that find the last room of one pipe at the same time do not see each other.)
    """

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        # Number of dropped lines, and whether the last line written was cut off.
        self._dropped, self._is_cut = 0, False

    @property
    def stream(self) -> Any:
        """The current standard error, which tests and forked processes replace."""
        return sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or drop it."""
        try:
            descriptor = self.stream.fileno()
        except (AttributeError, OSError, ValueError):  # not a file of the operating system
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
        except BlockingIOError:  # another process has made it non-blocking
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
    """Return whether as much as a pipe accepts at once can be written without waiting."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))


_ours: list[logging.Handler] = []
# Of this process; processes that it forks continue with a copy.
LIMIT = RateLimit()


def configure(style: str, level: str, addresses: Iterable[str] = ()) -> None:
    """Set up all loggers of this process, and of those that it forks.

    Args:
        style: "text" or "json".
        level: lowest level to write, as in the setting `log_level`. For other libraries it is at
            least warnings.
        addresses: addresses whose passwords are removed from every line.
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
    """Return a message for the terminal as a line of JSON."""
    record = logging.LogRecord("cascade.serve", logging.INFO, "", 0, message, (), None)
    return Json().format(record)


def tell_suppressed() -> None:
    """Log how many lines were suppressed, for kinds without new lines since."""
    for kind, suppressed in LIMIT.overdue():
        name, what, *more = kind if isinstance(kind, tuple) else (ROOT, str(kind))
        about = {"about": " ".join(filter(None, map(str, more)))} if more else {}
        extra = {"suppressed": suppressed, "fields": about}
        logging.getLogger(name).warning("more like this: %s", what, extra=extra)
