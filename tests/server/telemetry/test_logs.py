"""Lines of the log: one line whatever they hold, nothing of rows, no passwords, not too many."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cascade_server.telemetry import logs
from cascade_server.telemetry.logs import Json, Limited, Passwords, Text, in_a_line
from cascade_server.telemetry.rate_limit import RateLimit
from hypothesis import given
from hypothesis import strategies as st

HOSTILE = 'credit\r\n{"level":"critical"}\x1b[2J\u2028\u202e\ud800\x85'


class Clock:
    """Time that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(message: str, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord("cascade.server", logging.ERROR, "", 0, message, args, exc_info)


def raised(value: str) -> Exception:
    try:
        try:
            raise ValueError(f"cannot read {value}")
        except ValueError as exc:
            raise KeyError(value) from exc
    except KeyError as exc:
        return exc


class TestLines:
    """A record is a line."""

    @given(st.text() | st.just(HOSTILE))
    def test_whatever_a_name_holds(self, name: str) -> None:
        for lines in (Text(), Json()):
            written = lines.format(record("table %s is not there", name))
            assert len(written.splitlines()) == 1
            assert written.isprintable()
            written.encode("utf-8")

    def test_hostile_fields_too(self) -> None:
        one = record("a call was refused")
        one.fields = {"request_id": HOSTILE, "table": "a b=c"}
        text = Text().format(one)
        assert len(text.splitlines()) == 1
        assert 'table="a b=c"' in text
        said = json.loads(Json().format(one))
        assert said["level"] == "error"
        assert said["table"] == "a b=c"
        assert "\x1b" not in said["request_id"]

    def test_a_field_is_not_taken_for_what_the_log_says_itself(self) -> None:
        one = record("a call was refused")
        one.fields = {"level": "debug", "message": "all is well"}
        said = json.loads(Json().format(one))
        assert (said["level"], said["message"]) == ("error", "a call was refused")

    def test_is_no_longer_than_a_pipe_takes_whole(self) -> None:
        long = record("%s", "é" * 5000, error=raised("x" * 5000))
        assert len(Json(debug=True).format(long).encode()) < 8192
        assert "5,000 characters" in in_a_line("x" * 5000)


class TestErrors:
    """Errors say where they came from, and not what callers sent."""

    @pytest.mark.parametrize("lines", [Text(), Json()])
    def test_without_their_words(self, lines: logs.Lines) -> None:
        written = lines.format(record("failed", error=raised("4111-1111")))
        assert "4111" not in written.replace("raised(", "")
        assert "KeyError" in written
        assert "ValueError" in written
        assert "test_logs.py" in written

    def test_with_them_where_one_looks_for_a_fault(self) -> None:
        assert "4111-1111" in Text(debug=True).format(record("failed", error=raised("4111-1111")))

    def test_what_the_system_says_is_of_files(self) -> None:
        with pytest.raises(FileNotFoundError) as found:
            Path("/nowhere/at/all").read_bytes()
        assert "No such file" in Text().format(record("failed", error=found.value))


def test_passwords_are_in_no_line() -> None:
    known = Passwords(["redis://:s3cret-w0rd@cache:6379/0", "no address: //["])
    for debug in (False, True):
        lines = Text(known, debug)
        for said in (
            "redis://user:hunter2@cache:6379 is away",
            "redis://cache?db=0&password=hunter2",
            "who has s3cret-w0rd gets in",
        ):
            written = lines.format(record(said))
            assert "hunter2" not in written
            assert "s3cret-w0rd" not in written


class TestRateLimit:
    """So many of a kind in a while; then a count."""

    def test_the_first_few_then_none_then_how_many(self) -> None:
        clock = Clock()
        limit = RateLimit(most=2, seconds=10, clock=clock)
        assert [limit.lets("a") for _ in range(5)] == [0, 0, None, None, None]
        assert limit.lets("b") == 0
        clock.now = 10.0
        assert [limit.lets("a"), limit.lets("a")] == [3, 0]

    def test_what_no_line_followed_is_told_when_the_while_is_over(self) -> None:
        clock = Clock()
        limit = RateLimit(most=1, seconds=10, clock=clock)
        for _ in range(4):
            limit.lets("a")
        assert list(limit.overdue()) == []
        clock.now = 10.0
        assert list(limit.overdue()) == [("a", 3)]
        assert list(limit.overdue()) == []

    def test_kinds_are_bounded(self) -> None:
        limit = RateLimit(most=1, clock=Clock())
        allowed = sum(limit.lets(number) is not None for number in range(5000))
        assert allowed <= 1001

    def test_lines_of_one_template_and_culprit_are_a_kind(self) -> None:
        limited = Limited(RateLimit(most=1, clock=Clock()))
        assert limited.filter(record("%s is away", "a:1"))
        assert not limited.filter(record("%s is away", "a:1"))
        assert limited.filter(record("%s is away", "b:1"))


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All is as it was afterwards."""
    root, ours = logging.getLogger(), logging.getLogger(logs.ROOT)
    before = root.level, ours.level
    monkeypatch.setattr(logs, "LIMIT", RateLimit())
    monkeypatch.setattr("sys.excepthook", None)
    yield
    for each in logs._ours:
        root.removeHandler(each)
    logs._ours.clear()
    root.setLevel(before[0])
    ours.setLevel(before[1])
    logging.captureWarnings(False)


def test_levels_are_of_the_server_and_not_of_what_it_is_built_on(
    configured: None, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("json", "info")
    logs.configure("json", "info")
    logging.getLogger("cascade.jobs").info("one")
    logging.getLogger("asyncio").info("two")
    logging.getLogger("asyncio").warning("three")
    said = [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()]
    assert said == ["one", "three"]


def test_lines_that_were_not_written_are_told_of(
    configured: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(logs, "LIMIT", RateLimit(most=1, seconds=5, clock=clock))
    logs.configure("text", "warning")
    for _ in range(3):
        logging.getLogger("cascade.server").warning("%s is away", "a:1")
    clock.now = 5.0
    logs.tell_suppressed()
    first, last = capsys.readouterr().err.splitlines()
    assert first == "WARNING cascade.server: a:1 is away"
    assert last == "WARNING cascade.server: more like this: %s is away about=a:1 suppressed=2"


@contextmanager
def piped() -> Iterator[tuple[int, logging.Logger]]:
    """Standard error as a small pipe: the end that others read, and a log that writes to it.

    Not a fixture, since pytest has its own standard error for each phase of a test.
    """
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 2 * select.PIPE_BUF)
    os.set_blocking(reader, False)
    with os.fdopen(writer, "w") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        logs.configure("json", "warning")
        yield reader, logging.getLogger("cascade.server")
    os.close(reader)


@pytest.mark.usefixtures("configured")
class TestNobodyReads:
    """Who collects the lines hangs: no process waits for it."""

    def test_lines_are_dropped_and_that_is_said_once_they_are_read(self) -> None:
        with piped() as (reader, log):
            for number in range(100):
                log.warning("%s is wrong", f"number {number} {'x' * 500}")
            before = os.read(reader, 2**20).splitlines()
            assert 0 < len(before) < 100
            log.warning("%s is wrong", "the last")
            told, last = map(json.loads, os.read(reader, 2**20).splitlines())
        assert told["message"] == "lines of the log were dropped: nobody read them"
        assert told["lines"] == 100 - len(before)
        assert last["message"] == "the last is wrong"

    def test_what_was_cut_off_spoils_no_other_line(self) -> None:
        # Of a line of some six thousand bytes the first part has room behind another.
        long = "\u4e00" * 999
        with piped() as (reader, log):
            log.warning("%s", "a")
            log.warning("%s", long, extra={"fields": {"what": long}})
            first, *cut = os.read(reader, 2**20).split(b"\n")
            log.warning("%s", "b")
            nothing, told, last = os.read(reader, 2**20).splitlines()
        assert json.loads(first)["message"] == "a"
        assert len(b"".join(cut)) == select.PIPE_BUF
        assert nothing == b""
        assert json.loads(told)["lines"] == 1
        assert json.loads(last)["message"] == "b"
