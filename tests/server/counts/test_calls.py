"""What is recorded of a call; time is told."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from cascade_server.counts.calls import Call
from cascade_server.counts.shared.call_counts import UNKNOWN_TABLE
from cascade_server.counts.shared.idle_times import Key, OpenCalls
from cascade_server.objectives.blame import CallerFault
from cascade_server.terms import ServiceClass, Tier

OK, CANCELLED = grpc.StatusCode.OK, grpc.StatusCode.CANCELLED
DEADLINE, FULL_UP = grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED
INVALID = grpc.StatusCode.INVALID_ARGUMENT
TOO_SHORT = CallerFault.DEADLINE_TOO_SHORT
REALTIME, FULL, OFFLINE = ServiceClass


@dataclass
class Recorded:
    """Keeps what it is told, and tells the time.

    Attributes:
        idle: seconds that calls take a server that does nothing else.
        unread: what calls count as that were not read.
        given_up: whether the server ends calls as they are.
    """

    now: float = 50.0
    idle: float = 0.0
    unread: tuple[str, ServiceClass] = ("credit", FULL)
    given_up: bool = False
    outcomes: list[Any] = field(default_factory=list)
    versions: list[Any] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)
    read: list[Any] = field(default_factory=list)
    alone: list[Any] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    open_calls: OpenCalls = field(default_factory=OpenCalls)

    def begins(self, arrived: float) -> int:
        return self.open_calls.begin(arrived)

    def is_over(self, ticket: int, now: float) -> bool:
        return self.open_calls.end(ticket, now)

    def has_given_up(self) -> bool:
        return self.given_up

    def reads(self, *key: Any) -> None:
        self.read.append(key)

    def whose_unread(self, method: ServiceClass) -> tuple[str, ServiceClass]:
        return self.unread

    def needed(self, key: Key, rows: int) -> float:
        self.asked.append(key)
        return self.idle * max(rows, 1)

    def record_alone(self, *call: Any) -> None:
        self.alone.append(call)

    def record(self, *outcome: Any) -> None:
        self.outcomes.append(outcome)

    def record_version(self, *outcome: Any) -> None:
        self.versions.append(outcome)

    def record_rows(self, *rows: Any) -> None:
        self.rows.append(rows)

    def clock(self) -> float:
        return self.now

    def call(self, service: ServiceClass = REALTIME, arrived: float | None = None) -> Call:
        return Call(self, {"credit"}, service, self.clock, arrived)


def test_an_answer() -> None:
    told = Recorded()
    call = told.call()
    call.asks("credit", FULL, math.inf)
    told.now += 0.25
    call.sends(Tier.TEACHER, 7)
    call.ends(OK)
    assert told.rows == [("credit", FULL, Tier.TEACHER, 7)]
    assert told.outcomes == [("credit", FULL, Tier.TEACHER, OK, 0.25)]


def test_the_time_a_stream_s_reader_takes_is_not_the_server_s() -> None:
    told = Recorded()
    call = told.call(OFFLINE)
    call.asks("credit", OFFLINE, math.inf)
    for _ in range(3):
        told.now += 0.5
        call.sends(Tier.TEACHER, 64)
        call.pause()
        told.now += 100
        call.resume()
    call.ends(OK)
    assert told.outcomes == [("credit", OFFLINE, Tier.TEACHER, OK, 1.5)]
    assert len(told.rows) == 3


def test_a_failure_has_no_tier() -> None:
    told = Recorded()
    call = told.call()
    call.asks("credit", REALTIME, math.inf)
    call.sends(Tier.TEACHER, 64)
    call.ends(grpc.StatusCode.INTERNAL)
    assert told.outcomes == [("credit", REALTIME, None, grpc.StatusCode.INTERNAL, 0.0)]


@pytest.mark.parametrize("table", ["", "nope", "credit\n"])
def test_a_table_that_is_not_there_has_one_name(table: str) -> None:
    told = Recorded()
    call = told.call()
    call.asks(table, REALTIME, math.inf)
    call.ends(grpc.StatusCode.NOT_FOUND)
    assert told.outcomes[0][0] == UNKNOWN_TABLE


def test_a_request_that_cannot_be_read_is_no_table_s() -> None:
    told = Recorded()
    told.call(OFFLINE).ends(INVALID)
    assert told.outcomes[0][:2] == (UNKNOWN_TABLE, OFFLINE)
    assert told.read == []


class TestRefusedUnread:
    """A refusal spends a budget, whether or not the call was read."""

    def test_as_calls_of_late_where_nothing_is_known(self) -> None:
        told = Recorded()
        for code in (FULL_UP, DEADLINE, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL):
            told.call().ends(code)
        assert {outcome[:2] for outcome in told.outcomes} == {("credit", FULL)}

    @pytest.mark.parametrize(
        ("table", "service", "counted"),
        [
            ("credit", FULL, ("credit", FULL)),
            ("credit", None, ("credit", REALTIME)),
            ("nope", FULL, (UNKNOWN_TABLE, FULL)),
            (None, FULL, ("other", OFFLINE)),
        ],
    )
    def test_as_its_headers_say(self, table: Any, service: Any, counted: Any) -> None:
        told = Recorded(unread=("other", OFFLINE))
        call = told.call()
        call.announces(table, service, math.inf)
        call.ends(FULL_UP)
        assert told.outcomes == [(*counted, None, FULL_UP, 0.0)]

    def test_a_call_that_is_read_counts_as_its_message_says(self) -> None:
        told = Recorded()
        call = told.call()
        call.announces("nope", FULL, math.inf)
        call.asks("credit", REALTIME, math.inf)
        call.ends(FULL_UP)
        assert told.outcomes == [("credit", REALTIME, None, FULL_UP, 0.0)]
        assert told.read == [(REALTIME, "credit", REALTIME)]

    def test_what_is_read_is_told_of_its_method(self) -> None:
        """Of `Synthesize`, which may be asked for offline work, and of `Generate`."""
        told = Recorded()
        for method in (REALTIME, OFFLINE):
            told.call(method).asks("credit", OFFLINE, math.inf)
        assert told.read == [(REALTIME, "credit", OFFLINE), (OFFLINE, "credit", OFFLINE)]

    def test_a_trial_is_told_of_calls_without_a_version(self) -> None:
        told = Recorded()
        told.call().ends(FULL_UP)
        call = told.call()
        call.answers_with(3)
        call.ends(DEADLINE)
        assert [(table, version) for table, version, *_ in told.versions] == [
            ("credit", 0),
            ("credit", 3),
        ]


class TestYielding:
    """Whoever lets others go first spends no real-time budget, however his call ends."""

    def outcome(self, *steps: Any, ends: Any = FULL_UP) -> Any:
        told = Recorded(unread=("credit", REALTIME))
        call = told.call()
        call.yields()
        for step in steps:
            step(call)
        call.hung_up() if ends is None else call.ends(ends)
        return told.outcomes[-1][:2]

    @pytest.mark.parametrize("service", ServiceClass)
    @pytest.mark.parametrize("ends", [OK, FULL_UP, INVALID, None])
    def test_read(self, service: ServiceClass, ends: Any) -> None:
        def asks(call: Call) -> None:
            call.asks("credit", service, 50.0)

        assert self.outcome(asks, ends=ends) == ("credit", OFFLINE)

    @pytest.mark.parametrize("service", [None, *ServiceClass])
    def test_refused_unread_with_headers_that_say_whose(self, service: Any) -> None:
        def announces(call: Call) -> None:
            call.announces("credit", service, math.inf)

        assert self.outcome(announces) == ("credit", OFFLINE)

    def test_refused_unread_as_calls_of_late(self) -> None:
        assert self.outcome() == ("credit", OFFLINE)

    def test_unreadable(self) -> None:
        assert self.outcome(ends=INVALID) == (UNKNOWN_TABLE, OFFLINE)

    def test_who_asks_for_the_teacher_is_held_to_the_teacher(self) -> None:
        told = Recorded()
        call = told.call()
        call.yields()
        call.asks("credit", FULL, math.inf, 1)
        call.sends(Tier.TEACHER, 1)
        call.ends(OK)
        assert [key for key, *_ in told.alone] == [("credit", OFFLINE, Tier.TEACHER)]


class TestTooLittleTime:
    """What no server could have answered is the caller's, whatever it was told."""

    def ending(self, told: Recorded, given: float, code: grpc.StatusCode, rows: int = 1) -> Any:
        call = told.call()
        call.asks("credit", REALTIME, told.now + given, rows)
        call.ends(code)
        return told.outcomes[-1][3]

    @pytest.mark.parametrize("code", [DEADLINE, FULL_UP])
    def test_is_too_little_for_an_idle_server(self, code: grpc.StatusCode) -> None:
        told = Recorded(idle=0.002)
        busy = told.call()
        assert self.ending(told, 0.0019, code) is TOO_SHORT
        assert self.ending(told, 0.0021, code) is code
        assert self.ending(told, 0.1, code, rows=100) is TOO_SHORT
        busy.ends(OK)

    def test_is_counted_from_the_arrival(self) -> None:
        """A call that waited until its deadline had enough."""
        told = Recorded(idle=0.002)
        call = told.call(arrived=told.now - 0.1)
        call.asks("credit", REALTIME, told.now)
        call.ends(DEADLINE)
        assert told.outcomes[-1][3] is DEADLINE

    def test_its_own_timeout_may_be_shorter(self) -> None:
        """Also where the call had waited before that was read."""
        told = Recorded()
        call = told.call(arrived=told.now - 0.1)
        call.asks("credit", REALTIME, told.now, timeout_microseconds=1)
        call.ends(DEADLINE)
        assert told.outcomes[-1][3] is TOO_SHORT

    def test_a_deadline_that_passed_before_it_came(self) -> None:
        assert self.ending(Recorded(), -1.0, DEADLINE) is TOO_SHORT

    def test_a_call_that_nobody_competed_with(self) -> None:
        """An idle server refuses what is predicted to be late, some time before it would be."""
        told = Recorded(idle=0.002)
        assert self.ending(told, 0.003, DEADLINE) is TOO_SHORT
        assert self.ending(told, 0.0041, DEADLINE) is DEADLINE

    def test_at_the_headers_others_may_wait(self) -> None:
        told = Recorded(idle=0.002, unread=("credit", REALTIME))
        for given in (0.001, 0.003):
            call = told.call()
            call.announces(None, None, told.now + given)
            call.ends(FULL_UP)
        assert [outcome[3] for outcome in told.outcomes] == [TOO_SHORT, FULL_UP]

    def test_what_is_learnt(self) -> None:
        """Answers alone tell what an idle server needs; those of calls beside others do not."""
        told = Recorded()
        first, second = told.call(), told.call()
        for call in (first, second):
            call.asks("credit", REALTIME, math.inf)
            call.ends(OK)
        waited = told.call(arrived=told.now - 1)
        waited.asks("credit", REALTIME, math.inf)
        waited.ends(OK)
        assert told.alone == []
        call = told.call()
        call.asks("credit", FULL, math.inf)
        told.now += 0.25
        call.sends(Tier.TEACHER, 3)
        call.sends(Tier.TEACHER, 2)
        call.ends(OK)
        assert told.alone == [(("credit", FULL, Tier.TEACHER), 5, 0.25)]

    def learns(self, service: ServiceClass, tier: Tier, **asked: Any) -> list[Any]:
        """What is learnt of one call that was alone, and what another one like it is held to."""
        told = Recorded()
        for code in (OK, DEADLINE):
            call = told.call(service)
            call.asks("credit", service, math.inf, 3, **asked)
            call.sends(tier, 3)
            call.ends(code)
        return [*(key[1:] for key, *_ in told.alone), *(key[1:] for key in told.asked)]

    def test_an_answer_that_took_long_by_choice_is_none_that_had_to(self) -> None:
        """AUTO has the teacher draw for who can wait; who cannot is answered by the student."""
        least = (REALTIME, Tier.STUDENT)
        assert self.learns(REALTIME, Tier.TEACHER) == [least]
        assert self.learns(REALTIME, Tier.STUDENT) == [least, least]

    def test_who_asks_for_the_teacher_is_held_to_the_teacher(self) -> None:
        for tier in Tier:
            assert self.learns(FULL, tier) == [(FULL, Tier.TEACHER)] * 2

    def test_a_stream_of_the_teacher_s_and_a_part_of_a_frame_are_two_things(self) -> None:
        of_a_stream, of_a_part = (OFFLINE, Tier.TEACHER), (OFFLINE, Tier.STUDENT)
        assert self.learns(OFFLINE, Tier.TEACHER, least=Tier.TEACHER) == [of_a_stream] * 2
        assert self.learns(OFFLINE, Tier.TEACHER) == [of_a_part]
        assert self.learns(OFFLINE, Tier.STUDENT) == [of_a_part] * 2

    def test_rows_that_lay_ready_say_nothing_of_a_draw(self) -> None:
        told = Recorded()
        call = told.call()
        call.asks("credit", REALTIME, math.inf)
        call.sends(Tier.STUDENT, 1, is_plain=False)
        call.ends(OK)
        assert told.alone == []


def test_hanging_up_is_recorded() -> None:
    """gRPC cancels a handler both when the caller gives up and when its deadline passes."""
    told = Recorded()
    for passed in (0.3, 1.0):
        call = told.call()
        call.asks("credit", REALTIME, told.now + 1.0)
        told.now += passed
        call.hung_up()
    assert [outcome[3] for outcome in told.outcomes] == [CANCELLED, DEADLINE]


def test_a_server_that_gives_up_is_to_blame() -> None:
    told = Recorded(given_up=True)
    call = told.call()
    call.asks("credit", REALTIME, math.inf)
    call.hung_up()
    assert told.outcomes[0][3] is grpc.StatusCode.UNAVAILABLE
