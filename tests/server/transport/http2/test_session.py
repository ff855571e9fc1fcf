"""The protocol without a socket: bytes in, events out."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from cascade_server.transport.http2.budgets import Bucket, Held
from cascade_server.transport.http2.events import (
    CallBegan,
    CallEnded,
    DataCame,
    Event,
    PingAnswered,
    Quiet,
    SettingsChanged,
    WindowOpened,
)
from cascade_server.transport.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    LARGEST_WINDOW,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Broken,
    Code,
    PeerSettings,
    Setting,
    frame,
    reset,
    settings,
    window_update,
)
from cascade_server.transport.http2.headers import Head
from cascade_server.transport.http2.limits import Rate, TransportLimits
from cascade_server.transport.http2.session import Session
from cascade_server.transport.http2.streams import (
    MOST_CUT,
    NEXT,
    Fault,
    Input,
    Over,
    State,
    printed,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.server.transport.conformance.peer import begins, call, ends, fields

CANCEL = struct.pack(">I", Code.CANCEL)


class Spoken:
    """A session that has begun, and all that it has said."""

    def __init__(
        self,
        limits: TransportLimits | None = None,
        door: Callable[[Head], bytes | None] = lambda head: None,
    ) -> None:
        self.out: list[bytes] = []
        self.now = 100.0
        self.session = Session(limits or TransportLimits(), self.out.append, lambda: self.now, door)

    def hears(self, data: bytes) -> list[Event]:
        """The events of some bytes."""
        self.session.receive(data)
        found = []
        while (event := self.session.step()) is not None:
            if not isinstance(event, Quiet):
                found.append(event)
        return found

    def begun(self) -> Spoken:
        self.hears(PREFACE + settings({}))
        self.out.clear()
        return self


def told(event: Event) -> tuple[object, ...]:
    """An event, as something that can be compared."""
    match event:
        case CallBegan(stream, head, last):
            return ("began", stream.number, head.path, last)
        case DataCame(stream, data, last):
            return ("data", stream.number, data, last)
        case CallEnded(stream):
            return ("ended", stream.number)
        case WindowOpened(stream, size):
            return ("window", stream and stream.number, size)
        case _:
            return (type(event).__name__, *event)


SAID = (
    call(1)
    + begins(3)
    + frame(PING, 0, 0, b"12345678")
    + window_update(3, 7)
    + window_update(0, 8)
    + settings({Setting.INITIAL_WINDOW_SIZE: 70_000})
    + frame(HEADERS, 0, 5, fields()[:9])
    + frame(CONTINUATION, END_HEADERS, 5, fields()[9:])
    + ends(5, b"in parts")
    + frame(RST_STREAM, 0, 3, CANCEL)
    + frame(PING, ACK, 0, b"answered")
)
EVENTS = [
    ("SettingsChanged", PeerSettings(), 0),
    ("began", 1, "/test.Service/Echo", False),
    ("data", 1, b"\0\0\0\0\1x", True),
    ("began", 3, "/test.Service/Echo", False),
    ("window", 3, 7),
    ("window", None, 8),
    ("SettingsChanged", PeerSettings(window=70_000), 70_000 - 65_535),
    ("began", 5, "/test.Service/Echo", False),
    ("data", 5, b"\0\0\0\0\x08in parts", True),
    ("ended", 3),
    ("PingAnswered", b"answered"),
]


class TestEvents:
    """What bytes turn out to be."""

    @given(st.lists(st.integers(1, 60), max_size=30))
    def test_they_are_the_same_however_the_bytes_come(self, cuts: list[int]) -> None:
        spoken, data, found = Spoken(), PREFACE + settings({}) + SAID, []
        for size in cuts:
            found += spoken.hears(data[:size])
            data = data[size:]
        found += spoken.hears(data)
        assert [told(event) for event in found] == EVENTS
        assert b"".join(spoken.out) == (
            frame(SETTINGS, ACK, 0) + frame(PING, ACK, 0, b"12345678") + frame(SETTINGS, ACK, 0)
        )

    def test_a_step_is_a_frame(self) -> None:
        spoken = Spoken().begun()
        spoken.session.receive(call(1) + call(3)[:-1])
        assert isinstance(spoken.session.step(), CallBegan)
        assert spoken.session.has_frame
        assert isinstance(spoken.session.step(), DataCame)
        assert isinstance(spoken.session.step(), CallBegan)
        assert not spoken.session.has_frame
        assert spoken.session.step() is None

    def test_an_answered_call_is_forgotten(self) -> None:
        spoken = Spoken().begun()
        began, _ = spoken.hears(call(1))
        assert isinstance(began, CallBegan)
        spoken.session.answered(began.stream)
        assert (spoken.session.streams, spoken.out) == ({}, [])

    def test_a_call_answered_early_is_asked_to_stop(self) -> None:
        spoken = Spoken().begun()
        (began,) = spoken.hears(begins(1))
        assert isinstance(began, CallBegan)
        spoken.session.answered(began.stream)
        assert spoken.out == [frame(RST_STREAM, 0, 1, bytes(4))]
        assert spoken.hears(frame(DATA, 0, 1, b"under way") + ends(1)) == []
        assert len(spoken.out) == 1

    def test_a_mistake_costs_its_call(self) -> None:
        spoken = Spoken().begun()
        spoken.hears(begins(1))
        assert [told(e) for e in spoken.hears(window_update(1, 0))] == [("ended", 1)]
        assert spoken.out == [frame(RST_STREAM, 0, 1, struct.pack(">I", Code.PROTOCOL_ERROR))]

    def test_what_is_overdue_is_named(self) -> None:
        spoken = Spoken().begun()
        spoken.hears(frame(HEADERS, 0, 1, fields()))
        assert spoken.session.overdue(105.0) is None
        assert spoken.session.overdue(111.0) == "headers that take more than 10 s"
        spoken.hears(frame(CONTINUATION, END_HEADERS, 1))
        assert spoken.session.overdue(1e9) is None

    def test_settings_say_by_how_much_windows_change(self) -> None:
        (event,) = Spoken().begun().hears(settings({Setting.INITIAL_WINDOW_SIZE: 5}))
        assert event == SettingsChanged(PeerSettings(window=5), 5 - 65_535)
        assert isinstance(PingAnswered(b""), tuple)


class TestStates:
    """The table of streams."""

    def test_it_has_an_entry_for_everything(self) -> None:
        assert len(NEXT) == len(State)
        assert {len(row) for row in NEXT} == {len(Input)}

    @pytest.mark.parametrize("what", [Input.DATA, Input.DATA_END, Input.RST_STREAM])
    def test_nothing_but_headers_begins_a_stream(self, what: Input) -> None:
        assert NEXT[State.IDLE][what] == Fault(Code.PROTOCOL_ERROR, whole=True)

    def test_what_is_closed_stays_closed(self) -> None:
        found = NEXT[State.CLOSED]
        assert all(isinstance(each, Fault) or each is State.CLOSED for each in found)

    @pytest.mark.parametrize("state", [State.OPEN, State.HALF_CLOSED, State.CUT, State.CLOSED])
    def test_a_stream_may_be_taken_back_at_any_time(self, state: State) -> None:
        assert NEXT[state][Input.RST_STREAM] is State.CLOSED

    def test_it_can_be_printed(self) -> None:
        lines = printed().splitlines()
        assert lines[0].split() == [*Input.__members__]
        assert [line.split()[0] for line in lines[1:]] == [*State.__members__]
        assert "stream STREAM_CLOSED" in lines[3]

    def test_of_streams_that_are_over_little_is_remembered(self) -> None:
        over = Over()
        for number in range(1, 4 * MOST_CUT, 2):
            over.cut(number)
        last = 4 * MOST_CUT - 1
        assert over.state(last, last) is State.CUT
        assert over.state(1, last) is State.CLOSED
        assert over.state(last + 2, last) is State.IDLE

    def test_numbers_that_were_left_out(self) -> None:
        over = Over()
        over.leave_out(1, 7)
        assert [number for number in range(1, 9, 2) if over.left_out(number)] == [3, 5]


class TestBudgets:
    """Buckets and bytes."""

    def spend(self, bucket: Bucket, times: int, now: float = 0.0, use: int = 0) -> int:
        """How many tokens of so many there are."""
        for number in range(times):
            try:
                bucket.spend(now, use)
            except Broken:
                return number
        return times

    def test_a_burst_and_no_more(self) -> None:
        assert self.spend(Bucket("things", Rate(5, 1), 0.0), 10) == 5

    def test_time_brings_tokens_up_to_the_burst(self) -> None:
        bucket = Bucket("things", Rate(5, 2), 0.0)
        assert self.spend(bucket, 5) == 5
        assert self.spend(bucket, 4, now=2.0) == 4
        assert self.spend(bucket, 10, now=1000.0) == 5

    def test_use_brings_tokens(self) -> None:
        bucket = Bucket("things", Rate(5, 0, per_use=2), 0.0)
        assert self.spend(bucket, 5) == 5
        assert self.spend(bucket, 4, use=2) == 4

    def test_it_says_what_there_was_too_much_of(self) -> None:
        with pytest.raises(Broken, match=r"too many PINGs: 0 at once and 3 a second") as found:
            Bucket("PINGs", Rate(0, 3), 0.0).spend(0.0, 0)
        assert found.value.code is Code.ENHANCE_YOUR_CALM

    def test_a_part_counts_for_the_whole(self) -> None:
        whole = Held(100)
        first, second = Held(60, whole), Held(60, whole)
        assert first.take(60)
        assert not first.take(1)
        assert not second.take(41)
        assert second.take(40)
        assert (whole.size, first.size, second.size) == (100, 60, 40)
        first.give(60)
        assert second.take(20)
        assert whole.size == 60

    def test_one_thing_may_be_larger_than_a_part_allows(self) -> None:
        part = Held(10, Held(100))
        assert part.take(50)
        assert not part.take(1)


class TestDoor:
    """A call that is refused at its head leaves nothing behind."""

    REFUSED = frame(HEADERS, END_HEADERS | END_STREAM, 1, b"refused")

    def spoken(self) -> Spoken:
        return Spoken(door=lambda head: b"refused").begun()

    def test_its_message_is_passed_over_where_it_comes_with_the_head(self) -> None:
        spoken = self.spoken()
        assert spoken.hears(call(1)) == []
        assert spoken.out == [self.REFUSED]
        assert not spoken.session.streams
        # It is closed, as any other that has been answered.
        assert spoken.hears(call(3)) == []
        spoken.hears(ends(1))
        assert spoken.out[-1] == reset(1, Code.STREAM_CLOSED)

    def test_else_the_caller_is_asked_to_send_no_more_of_it(self) -> None:
        spoken = self.spoken()
        assert spoken.hears(begins(1)) == []
        assert spoken.out == [self.REFUSED, reset(1, Code.NO_ERROR)]
        assert spoken.hears(ends(1)) == []
        assert len(spoken.out) == 2

    def test_a_message_in_several_frames_is_passed_over_as_it_comes(self) -> None:
        spoken = self.spoken()
        part = frame(DATA, 0, 1, b"part")
        assert spoken.hears(begins(1) + part + ends(1, b"rest")) == []
        assert spoken.out == [self.REFUSED, reset(1, Code.NO_ERROR)]

    def test_the_message_of_another_call_is_not(self) -> None:
        refused = iter([None, b"refused"])
        spoken = Spoken(door=lambda head: next(refused)).begun()
        events = spoken.hears(begins(1) + begins(3) + ends(1, b"here") + ends(3))
        assert [told(each)[:2] for each in events] == [("began", 1), ("data", 1)]

    def test_what_was_passed_over_counts_against_the_window_of_the_connection(self) -> None:
        spoken = self.spoken()
        spoken.session._received = LARGEST_WINDOW // 2
        spoken.hears(call(1))
        assert any(each[3] == WINDOW_UPDATE for each in spoken.out)

    def test_who_announces_a_message_and_sends_none_is_told_so_first(self) -> None:
        spoken = self.spoken()
        block = fields((b"content-length", b"5"))
        spoken.hears(frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
        assert spoken.out == [reset(1, Code.PROTOCOL_ERROR)]

    @given(st.lists(st.integers(1, 40), max_size=30))
    def test_however_the_bytes_are_cut(self, sizes: list[int]) -> None:
        spoken, said = self.spoken(), call(1) + call(3) + begins(5) + ends(5, b"x")
        for size in [*sizes, len(said)]:
            assert spoken.hears(said[:size]) == []
            said = said[size:]
        heads = [each for each in spoken.out if each[3] == HEADERS]
        assert [int.from_bytes(each[5:9], "big") for each in heads] == [1, 3, 5]
        assert not spoken.session.streams
