"""HTTP/2, with h2 as the peer where it is spoken well, and by hand where it is not."""

from __future__ import annotations

import socket
import struct

import pytest
from cascade_server.transport import TransportLimits
from cascade_server.transport.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HAS_PRIORITY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Code,
    Setting,
    frame,
    settings,
    window_update,
)
from h2 import events
from h2.settings import SettingCodes
from hpack import Encoder

from tests.server.transport.peer import Peer, Raw, frames_of, message, request
from tests.server.transport.serving import MOST_STREAMS, Serving, serving


def block(rpc: str = "Echo", /, **changed: str) -> bytes:
    found: bytes = Encoder().encode(request(rpc, **changed))
    return found


def call(stream: int, method: str = "Echo", body: bytes = b"x") -> bytes:
    """All frames of a call."""
    head = frame(HEADERS, END_HEADERS, stream, block(method))
    return head + frame(DATA, END_STREAM, stream, message(body))


class TestFrames:
    """What is spoken well."""

    def test_calls_are_answered_one_after_another(self, transport: Serving) -> None:
        with Peer(transport.port) as peer:
            for body in (b"", b"one", b"x" * 100_000):
                answer = peer.call("Echo", body)
                assert answer.messages == [body]
                assert answer.headers[":status"] == "200"
                assert answer.headers["content-type"] == "application/grpc"
                assert answer.status == "0"

    def test_padding_is_dropped(self, transport: Serving) -> None:
        with Peer(transport.port) as peer:
            stream = peer.begin(request("Echo"))
            peer.send(stream, message(b"padded")[:3], end=False, pad=200)
            peer.send(stream, message(b"padded")[3:], pad=0)
            assert peer.answer(stream).messages == [b"padded"]

    def test_headers_may_come_in_parts_with_padding_and_priority(self, transport: Serving) -> None:
        whole = block()
        first = bytes((4,)) + b"\0\0\0\0\x10" + whole[:5] + b"\0" * 4
        with Peer(transport.port) as peer:
            peer.raw(
                frame(HEADERS, PADDED | HAS_PRIORITY, 1, first)
                + frame(CONTINUATION, 0, 1, whole[5:9])
                + frame(CONTINUATION, END_HEADERS, 1, whole[9:])
                + frame(DATA, END_STREAM, 1, message(b"parts"))
            )
            # h2 did not begin the stream and does not take its answer.
            data = b""
            while b"parts" not in data:
                data += peer.socket.recv(65_536)

    def test_frames_may_come_a_byte_at_a_time(self, transport: Serving) -> None:
        with Peer(transport.port) as peer:
            for byte in call(1, body=b"slowly"):
                peer.raw(bytes((byte,)))
            data = b""
            while b"slowly" not in data:
                data += peer.socket.recv(65_536)

    def test_what_is_unknown_is_ignored(self, transport: Serving) -> None:
        with Peer(transport.port) as peer:
            peer.raw(frame(0x42, 0xFF, 7, b"extension") + frame(PRIORITY, 0, 9, b"\0" * 5))
            peer.raw(frame(SETTINGS, 0, 0, struct.pack(">HI", 0xFF, 9)))
            assert peer.call("Echo", b"after").messages == [b"after"]

    def test_a_ping_is_answered_with_its_content(self, transport: Serving) -> None:
        with Peer(transport.port) as peer:
            peer.h2.ping(b"12345678")
            peer.flush()
            acks = lambda: [e for e in peer.seen if isinstance(e, events.PingAckReceived)]  # noqa: E731
            peer.until(lambda: bool(acks()))
            assert [each.ping_data for each in acks()] == [b"12345678"]

    def test_the_limit_of_streams_is_told_and_kept(self, transport: Serving) -> None:
        with Peer(transport.port) as peer:
            peer.until(lambda: any(isinstance(e, events.RemoteSettingsChanged) for e in peer.seen))
            told = peer.h2.remote_settings
            assert told[SettingCodes.MAX_CONCURRENT_STREAMS] == MOST_STREAMS
            streams = [peer.begin(request("Wait")) for _ in range(MOST_STREAMS)]
            for stream in streams:
                peer.send(stream, message(b"w"))
            # Beyond what h2 lets us do.
            peer.h2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 100
            peer.h2.remote_settings.acknowledge()
            beyond = peer.begin(request("Echo"))
            assert peer.answer(beyond).reset == Code.REFUSED_STREAM
            transport.loop.call_soon_threadsafe(transport.service.go.set)
            assert [peer.answer(stream).messages for stream in streams] == [[b"w"]] * MOST_STREAMS
            assert peer.call("Echo", b"again").messages == [b"again"]


class TestWindows:
    """Flow control in both directions."""

    def test_a_large_answer_waits_for_the_windows(self, transport: Serving) -> None:
        with Peer(transport.port, acknowledges=False) as peer:
            stream = peer.begin(request("Count"))
            peer.send(stream, message(b"3 60000"))
            peer.until(lambda: len(peer.answers[stream].body) == 65_535)
            # Nothing more comes: the answer to a ping is next.
            peer.h2.ping(b"anything")
            peer.flush()
            peer.until(lambda: any(isinstance(e, events.PingAckReceived) for e in peer.seen))
            assert len(peer.answers[stream].body) == 65_535
            peer.h2.increment_flow_control_window(1_000_000)
            peer.h2.increment_flow_control_window(1_000_000, stream)
            peer.flush()
            assert [len(each) for each in peer.answer(stream).messages] == [60_000] * 3

    def test_what_waits_for_a_window_is_dropped_with_its_call(self, transport: Serving) -> None:
        head = frame(HEADERS, END_HEADERS, 1, block("Count"))
        asked = head + frame(DATA, END_STREAM, 1, message(b"3 60000"))
        with socket.create_connection(("127.0.0.1", transport.port), timeout=20) as connection:
            connection.sendall(PREFACE + settings({Setting.INITIAL_WINDOW_SIZE: 10**6}) + asked)
            data = b""
            while sum(len(f[3]) for f in frames_of(data)[0] if f[0] == DATA) < 65_535:
                data += connection.recv(65_536)
            connection.sendall(frame(RST_STREAM, 0, 1, b"\0\0\0\x08") + window_update(0, 10**6))
            connection.sendall(frame(PING, 0, 0, b"and then"))
            after = b""
            while not any(f[0] == PING for f in frames_of(after)[0]):
                after += connection.recv(65_536)
        assert [f[0] for f in frames_of(after)[0] if f[0] == DATA] == []

    def test_a_smaller_initial_window_holds_for_streams_that_are_open(
        self, transport: Serving
    ) -> None:
        with Peer(transport.port, acknowledges=False) as peer:
            stream = peer.begin(request("Wait"))
            peer.send(stream, message(b"y" * 1000))
            assert transport.service.waiting.acquire(timeout=20)
            peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 100})
            peer.flush()
            peer.until(lambda: any(isinstance(e, events.SettingsAcknowledged) for e in peer.seen))
            transport.loop.call_soon_threadsafe(transport.service.go.set)
            peer.until(lambda: len(peer.answers[stream].body) >= 100)
            assert len(peer.answers[stream].body) == 100
            peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 65_535})
            peer.flush()
            assert peer.answer(stream).messages == [b"y" * 1000]

    def test_larger_frames_are_sent_to_who_takes_them(self, transport: Serving) -> None:
        with Peer(transport.port) as peer:
            peer.h2.update_settings(
                {SettingCodes.MAX_FRAME_SIZE: 60_000, SettingCodes.INITIAL_WINDOW_SIZE: 10**6}
            )
            peer.h2.increment_flow_control_window(10**6)
            peer.flush()
            peer.until(lambda: any(isinstance(e, events.SettingsAcknowledged) for e in peer.seen))
            assert peer.call("Count", b"1 50000").messages == [b"0".ljust(50_000)]
            sizes = [len(e.data) for e in peer.seen if isinstance(e, events.DataReceived)]
            assert max(sizes) > 16_384

    def test_a_large_message_is_granted_as_it_comes(self, transport: Serving) -> None:
        body = bytes(2_000_000)
        with Peer(transport.port) as peer:
            stream = peer.begin(request("Echo"))
            peer.send(stream, message(body))
            assert peer.answer(stream).messages == [body]

    def test_a_peer_that_ignores_the_window_is_sent_away(self, transport: Serving) -> None:
        # One message that fills the window, and nobody has read it when the next comes.
        whole = message(bytes(TransportLimits.ahead_bytes - 5))
        parts = [whole[at : at + 16_384] for at in range(0, len(whole), 16_384)]
        found = Raw(transport.port).say(
            frame(HEADERS, END_HEADERS, 1, block()),
            *(frame(DATA, 0, 1, part) for part in parts),
            frame(DATA, 0, 1, b"x"),
        )
        assert found.goaway is not None
        assert found.goaway[0] == Code.FLOW_CONTROL_ERROR


class TestBroken:
    """A peer that breaks the protocol is told so, and its connection ends."""

    @pytest.mark.parametrize(
        ("said", "code", "message_"),
        [
            (frame(DATA, 0, 0, b"x"), Code.PROTOCOL_ERROR, "DATA on stream 0"),
            (frame(DATA, 0, 5, b"x"), Code.PROTOCOL_ERROR, "DATA on stream 5"),
            (frame(HEADERS, END_HEADERS, 2, block()), Code.PROTOCOL_ERROR, "HEADERS on stream 2"),
            (frame(HEADERS, END_HEADERS, 1, b"\xff\xff"), Code.COMPRESSION_ERROR, "none"),
            (
                frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + block()),
                Code.PROTOCOL_ERROR,
                "more padding",
            ),
            (
                frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, b"\0\0"),
                Code.FRAME_SIZE_ERROR,
                "priority",
            ),
            (
                frame(HEADERS, 0, 1, block()) + frame(PING, 0, 0, b"\0" * 8),
                Code.PROTOCOL_ERROR,
                "interrupted",
            ),
            (frame(CONTINUATION, END_HEADERS, 1, block()), Code.PROTOCOL_ERROR, "of nothing"),
            (
                frame(HEADERS, 0, 1, b"\0" * 16_000) + 2 * frame(CONTINUATION, 0, 1, b"\0" * 9000),
                Code.ENHANCE_YOUR_CALM,
                "headers of more than",
            ),
            (
                frame(HEADERS, 0, 1, b"") + 9 * frame(CONTINUATION, 0, 1, b""),
                Code.ENHANCE_YOUR_CALM,
                "headers in more than 8 CONTINUATION",
            ),
            (frame(RST_STREAM, 0, 0, b"\0" * 4), Code.PROTOCOL_ERROR, "RST_STREAM"),
            (frame(RST_STREAM, 0, 1, b"\0" * 3), Code.FRAME_SIZE_ERROR, "RST_STREAM"),
            (frame(RST_STREAM, 0, 9, b"\0" * 4), Code.PROTOCOL_ERROR, "stream 9, IDLE"),
            (frame(SETTINGS, 0, 1, b""), Code.PROTOCOL_ERROR, "SETTINGS on stream 1"),
            (frame(SETTINGS, 0, 0, b"\0" * 5), Code.FRAME_SIZE_ERROR, "6 each"),
            (settings({Setting.ENABLE_PUSH: 2}), Code.PROTOCOL_ERROR, "ENABLE_PUSH"),
            (settings({Setting.MAX_FRAME_SIZE: 1}), Code.PROTOCOL_ERROR, "MAX_FRAME_SIZE"),
            (
                settings({Setting.INITIAL_WINDOW_SIZE: 2**31}),
                Code.FLOW_CONTROL_ERROR,
                "INITIAL_WINDOW_SIZE",
            ),
            (frame(PUSH_PROMISE, 0, 1, b"\0" * 4), Code.PROTOCOL_ERROR, "push"),
            (frame(PING, 0, 0, b"\0"), Code.FRAME_SIZE_ERROR, "PING of 1"),
            (window_update(0, 0), Code.PROTOCOL_ERROR, "by 0"),
            (window_update(0, 2**31 - 1), Code.FLOW_CONTROL_ERROR, "a window of"),
            (frame(WINDOW_UPDATE, 0, 0, b"\0"), Code.FRAME_SIZE_ERROR, "WINDOW_UPDATE of 1"),
            (b"\xff\xff\xff" + b"\0" * 6, Code.FRAME_SIZE_ERROR, "a frame of 16777215"),
            (call(3) + call(1), Code.PROTOCOL_ERROR, ""),
        ],
    )
    def test_it_is_told_why(
        self, transport: Serving, said: bytes, code: Code, message_: str
    ) -> None:
        found = Raw(transport.port).say(said)
        assert found.goaway is not None
        assert found.goaway[0] == code
        assert message_ in found.goaway[1]
        with Peer(transport.port) as peer:
            assert peer.call("Echo", b"others").messages == [b"others"]

    @pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01" * 20])
    def test_what_is_no_http_2_is_told_so(self, transport: Serving, said: bytes) -> None:
        found = Raw(transport.port).say(said, preface=False)
        assert found.goaway is not None
        assert "not HTTP/2" in found.goaway[1]

    def test_half_a_preface_is_waited_for(self, transport: Serving) -> None:
        with Peer(transport.port) as peer:
            other = Raw(transport.port).say(PREFACE[:10], preface=False)
            assert other.goaway is None
            assert peer.call("Echo", b"others").messages == [b"others"]

    def test_the_first_frame_is_settings(self, transport: Serving) -> None:
        found = Raw(transport.port).say(PREFACE, frame(PING, 0, 0, b"\0" * 8), preface=False)
        assert found.goaway == (Code.PROTOCOL_ERROR, "the first frame is not SETTINGS")

    @pytest.mark.parametrize("said", [b"", PREFACE[:7], PREFACE])
    def test_who_says_nothing_is_not_waited_for(self, said: bytes) -> None:
        with serving(preface_seconds=0.02) as transport:
            found = Raw(transport.port).say(said, preface=False, ends=False)
            assert found.goaway == (Code.ENHANCE_YOUR_CALM, "no HTTP/2 within 0.02 s")

    def test_data_after_the_end_is_of_no_use(self, transport: Serving) -> None:
        with Peer(transport.port) as peer:
            stream = peer.begin(request("Echo"))
            peer.send(stream, message(b"x"))
            peer.answer(stream)
            peer.raw(frame(DATA, 0, stream, b"late"))
            assert peer.call("Echo", b"after").messages == [b"after"]

    def test_an_acknowledgement_of_nothing_is_nothing(self, transport: Serving) -> None:
        with Peer(transport.port) as peer:
            peer.raw(frame(SETTINGS, ACK, 0) + frame(PING, ACK, 0, b"\0" * 8))
            assert peer.call("Echo", b"after").messages == [b"after"]


class TestNoCalls:
    """Requests that are none of gRPC's."""

    @pytest.mark.parametrize(
        ("changed", "status"),
        [
            ({"method": "GET"}, "405"),
            ({"content_type": "text/html"}, "415"),
            ({"content_type": ""}, "415"),
            ({"grpc_timeout": "soon"}, "400"),
            ({"grpc_timeout": "123456789S"}, "400"),
        ],
    )
    def test_they_get_an_http_status(
        self, transport: Serving, changed: dict[str, str], status: str
    ) -> None:
        with Peer(transport.port) as peer:
            stream = peer.begin(request("Echo", **changed))
            assert peer.answer(stream).headers == {":status": status}
            assert peer.call("Echo", b"after").messages == [b"after"]

    def test_what_there_is_not_is_unimplemented(self, transport: Serving) -> None:
        with Peer(transport.port) as peer:
            answer = peer.call("Nothing", b"x")
            assert (answer.status, answer.headers[":status"]) == ("12", "200")
            assert "/test.Service/Nothing" in answer.details

    @pytest.mark.parametrize("missing", ["method", "path"])
    def test_a_request_without_its_pseudo_headers_ends_alone(
        self, transport: Serving, missing: str
    ) -> None:
        head = frame(HEADERS, END_HEADERS, 1, block(**{missing: ""}))
        found = Raw(transport.port).say(head, frame(PING, 0, 0, b"and then"))
        assert found.goaway is None
        ends = [each for each in found.frames if each[0] in (RST_STREAM, PING)]
        assert ends == [
            (RST_STREAM, 0, 1, Code.PROTOCOL_ERROR.to_bytes(4, "big")),
            (PING, ACK, 0, b"and then"),
        ]
