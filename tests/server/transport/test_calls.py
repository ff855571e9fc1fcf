"""What a call is to its caller, whoever that is: h2 by hand, grpcio's clients."""

from __future__ import annotations

import ast
import gzip
import socket
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from cascade_server.transport.http2.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    frame,
    settings,
)
from hpack import Encoder

from tests.server.transport.peer import Peer, frames_of, message, request
from tests.server.transport.serving import MOST_BYTES, SERVICE, Serving

CODES = {code.value[0]: code for code in grpc.StatusCode}


@pytest.fixture
def channel(transport: Serving) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(
        transport.target, options=[("grpc.max_receive_message_length", -1)]
    ) as found:
        yield found


def path(method: str) -> str:
    return f"/{SERVICE}/{method}"


def refused(call: Any, *args: Any, **options: Any) -> Any:
    with pytest.raises(grpc.RpcError) as found:
        call(*args, **options)
    return found.value


class TestKinds:
    """Unary and streaming, in both directions, by grpcio's client."""

    def test_one_to_one(self, channel: grpc.Channel) -> None:
        assert channel.unary_unary(path("Echo"))(b"hello") == b"hello"

    def test_one_to_many(self, channel: grpc.Channel) -> None:
        found = channel.unary_stream(path("Count"))(b"1000 10")
        assert [int(each) for each in found] == [*range(1000)]

    def test_none_to_many(self, channel: grpc.Channel) -> None:
        assert list(channel.unary_stream(path("Count"))(b"0 0")) == []

    def test_many_to_one(self, channel: grpc.Channel) -> None:
        sent = (str(each).encode() for each in range(1000))
        assert channel.stream_unary(path("Sum"))(sent) == b"499500"
        assert channel.stream_unary(path("Sum"))(iter(())) == b"0"

    def test_many_to_many(self, channel: grpc.Channel) -> None:
        sent = [bytes([at % 256]) * (at * 100) for at in range(300)]
        assert list(channel.stream_stream(path("Chat"))(iter(sent))) == sent

    def test_a_conversation_answers_before_its_end(self, channel: grpc.Channel) -> None:
        said, heard = threading.Semaphore(0), []

        def sent() -> Iterator[bytes]:
            for at in range(5):
                yield str(at).encode()
                assert said.acquire(timeout=20)

        for each in channel.stream_stream(path("Chat"))(sent()):
            heard.append(each)
            said.release()
        assert heard == [b"0", b"1", b"2", b"3", b"4"]

    async def test_the_asyncio_client(self, transport: Serving) -> None:
        async with grpc.aio.insecure_channel(transport.target) as channel:
            assert await channel.unary_unary(path("Echo"))(b"hello") == b"hello"
            found = channel.unary_stream(path("Count"))(b"3 1")
            assert [each async for each in found] == [b"0", b"1", b"2"]

    def test_large_messages(self, channel: grpc.Channel) -> None:
        body = bytes(range(256)) * 20_000
        assert len(body) > 5_000_000
        assert channel.unary_unary(path("Echo"))(body) == body
        assert list(channel.stream_stream(path("Chat"))(iter([body] * 3))) == [body] * 3

    def test_many_connections_at_once(self, transport: Serving) -> None:
        found: list[bytes] = []

        def talk(number: int) -> None:
            options = [("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel(transport.target, options) as channel:
                echo = channel.unary_unary(path("Echo"))
                found.extend(echo(b"%d" % number) for _ in range(20))

        threads = [threading.Thread(target=talk, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == sorted(b"%d" % number for number in range(16) for _ in range(20))


class TestMessages:
    """Their number, their size and their compression."""

    @pytest.mark.parametrize(
        ("count", "said"), [(0, "the call has no message"), (2, "more than one message")]
    )
    def test_a_unary_call_has_one_message(self, transport: Serving, count: int, said: str) -> None:
        with Peer(transport.port) as peer:
            stream = peer.begin(request("Echo"))
            peer.send(stream, message(b"x") * count)
            answer = peer.answer(stream)
            assert answer.status == "3"
            assert said in answer.details

    def test_no_data_at_all_is_no_message(self, transport: Serving) -> None:
        with Peer(transport.port) as peer:
            assert peer.answer(peer.begin(request("Echo"), end=True)).status == "3"

    @pytest.mark.parametrize("sent", [b"\0", b"\0\0\0\0\5ab"])
    def test_a_message_is_whole(self, transport: Serving, sent: bytes) -> None:
        with Peer(transport.port) as peer:
            stream = peer.begin(request("Echo"))
            peer.send(stream, sent)
            answer = peer.answer(stream)
            assert (answer.status, answer.details) == ("3", "the last message is cut short")

    def test_a_message_is_refused_by_its_announced_size(self, transport: Serving) -> None:
        with Peer(transport.port) as peer:
            stream = peer.begin(request("Echo"))
            peer.send(stream, b"\0" + (MOST_BYTES + 1).to_bytes(4, "big"), end=False)
            answer = peer.answer(stream)
            assert answer.status == "8"
            assert f"({MOST_BYTES + 1} vs. {MOST_BYTES})" in answer.details
            assert peer.call("Echo", b"after").messages == [b"after"]

    @pytest.mark.parametrize(
        ("encoding", "packed"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
    )
    def test_compressed_messages_are_read(
        self, transport: Serving, encoding: str, packed: Any
    ) -> None:
        with Peer(transport.port) as peer:
            stream = peer.begin(request("Sum", ("grpc-encoding", encoding)))
            peer.send(stream, message(packed(b"20"), flag=1) + message(b"22"))
            assert peer.answer(stream).messages == [b"42"]

    def test_grpcios_client_may_compress(self, channel: grpc.Channel) -> None:
        body = b"again and " * 10_000
        for kind in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            assert channel.unary_unary(path("Echo"))(body, compression=kind) == body

    @pytest.mark.parametrize(
        ("encoding", "body", "status", "details"),
        [
            ("gzip", b"not gzip", "3", "no gzip"),
            ("gzip", gzip.compress(b"whole" * 100, mtime=0)[:-12], "3", "cut short"),
            ("snappy", b"x", "12", "allowed: identity, deflate, gzip"),
            ("gzip", gzip.compress(bytes(MOST_BYTES + 1), mtime=0), "8", "once it is inflated"),
        ],
    )
    def test_what_cannot_be_inflated_is_refused(
        self, transport: Serving, encoding: str, body: bytes, status: str, details: str
    ) -> None:
        with Peer(transport.port) as peer:
            stream = peer.begin(request("Echo", ("grpc-encoding", encoding)))
            peer.send(stream, message(body, flag=1))
            answer = peer.answer(stream)
            assert answer.status == status
            assert details in answer.details


class TestGarbage:
    """Messages that a method cannot read are the caller's fault, and nothing is written down."""

    @pytest.mark.parametrize("method", ["Number", "Numbers"])
    def test_they_are_refused(
        self, transport: Serving, caplog: pytest.LogCaptureFixture, method: str
    ) -> None:
        with Peer(transport.port) as peer:
            answer = peer.call(method, b"\xff\xff")
            assert answer.status == "3"
            assert answer.details == f"a message that {path(method)} cannot read"
            assert peer.call(method, b"7").messages == [b"7"]
        assert caplog.records == []

    def test_what_came_before_is_answered(self, transport: Serving) -> None:
        with Peer(transport.port) as peer:
            stream = peer.begin(request("Numbers"))
            peer.send(stream, message(b"1") + message(b"2") + message(b"x") + message(b"4"))
            answer = peer.answer(stream)
            assert (answer.messages, answer.status) == ([b"1", b"2"], "3")


class TestMetadata:
    """What is said beside messages."""

    def test_it_goes_both_ways(self, channel: grpc.Channel) -> None:
        sent = (("name", "value"), ("name", "again"), ("some-bin", b"\x00\x01\xfe"))
        answer, call = channel.unary_unary(path("Told")).with_call(b"", metadata=sent)
        left, known = ast.literal_eval(answer.decode())
        assert left is None
        assert [each for each in known if each[0] in ("name", "some-bin")] == sorted(sent)
        assert ("said-first", "one") in call.initial_metadata()
        assert ("said-last", "two") in call.trailing_metadata()
        assert ("said-bin", b"\x00\xff") in call.trailing_metadata()

    @pytest.mark.parametrize(
        ("timeout", "seconds"), [("2H", 7200), ("3M", 180), ("50S", 50), ("9000m", 9)]
    )
    def test_the_timeout_has_a_unit(self, transport: Serving, timeout: str, seconds: int) -> None:
        with Peer(transport.port) as peer:
            answer = peer.call("Told", b"", ("grpc-timeout", timeout))
            assert ast.literal_eval(answer.messages[0].decode())[0] == seconds


class TestEnds:
    """How calls fail."""

    @pytest.mark.parametrize("details", ["plain", "100 % of it", "naïve — ∑\n\ttwo lines"])
    def test_an_abort_says_why_in_any_script(self, channel: grpc.Channel, details: str) -> None:
        error = refused(channel.unary_unary(path("Fail")), details.encode())
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.details() == details
        assert ("come-back", "7") in error.trailing_metadata()

    def test_details_are_percent_encoded(self, transport: Serving) -> None:
        with Peer(transport.port) as peer:
            assert peer.call("Fail", "5 % é".encode()).details == "5 %25 %C3%A9"

    def test_a_crash_shows_no_more_than_its_kind(
        self, channel: grpc.Channel, caplog: pytest.LogCaptureFixture
    ) -> None:
        error = refused(channel.unary_unary(path("Crash")), b"secret")
        assert error.code() is grpc.StatusCode.UNKNOWN
        assert error.details() == "the server failed with a ZeroDivisionError"
        assert channel.unary_unary(path("Echo"))(b"after") == b"after"
        assert "ZeroDivisionError: b'secret'" in caplog.text

    def test_a_deadline_that_passes_ends_the_work(
        self, transport: Serving, channel: grpc.Channel
    ) -> None:
        error = refused(channel.unary_unary(path("Wait")), b"late", timeout=0.05)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert transport.service.ended.acquire(timeout=20)
        assert transport.service.cancelled == ["late"]

    def test_the_server_ends_it_if_the_caller_does_not(self, transport: Serving) -> None:
        with Peer(transport.port) as peer:
            answer = peer.call("Wait", b"late", ("grpc-timeout", "20m"))
            assert CODES[int(answer.status or 0)] is grpc.StatusCode.DEADLINE_EXCEEDED

    def test_a_reset_ends_the_work(self, transport: Serving) -> None:
        with Peer(transport.port) as peer:
            stream = peer.begin(request("Wait"))
            peer.send(stream, message(b"reset"))
            assert transport.service.waiting.acquire(timeout=20)
            peer.h2.reset_stream(stream)
            peer.flush()
            assert transport.service.ended.acquire(timeout=20)
            assert transport.service.cancelled == ["reset"]
            assert peer.call("Echo", b"after").messages == [b"after"]

    def test_a_connection_that_breaks_ends_its_work(self, transport: Serving) -> None:
        with Peer(transport.port) as peer:
            stream = peer.begin(request("Wait"))
            peer.send(stream, message(b"broken"))
            assert transport.service.waiting.acquire(timeout=20)
        assert transport.service.ended.acquire(timeout=20)
        assert transport.service.cancelled == ["broken"]

    def test_a_caller_may_cancel(self, transport: Serving, channel: grpc.Channel) -> None:
        call = channel.unary_unary(path("Wait")).future(b"cancelled")
        assert transport.service.waiting.acquire(timeout=20)
        call.cancel()
        assert transport.service.ended.acquire(timeout=20)
        assert transport.service.cancelled == ["cancelled"]


class TestTheEnd:
    """The server stops."""

    def test_what_is_underway_is_finished(self, transport: Serving, channel: grpc.Channel) -> None:
        call = channel.unary_unary(path("Wait")).future(b"finished")
        assert transport.service.waiting.acquire(timeout=20)

        async def stop() -> None:
            transport.loop.call_later(0, transport.service.go.set)
            await transport.server.stop(20)

        transport.run(stop())
        assert call.result(timeout=20) == b"finished"
        error = refused(channel.unary_unary(path("Echo")), b"new")
        assert error.code() is grpc.StatusCode.UNAVAILABLE

    def test_after_the_grace_it_is_given_up(
        self, transport: Serving, channel: grpc.Channel
    ) -> None:
        call = channel.unary_unary(path("Wait")).future(b"given up")
        assert transport.service.waiting.acquire(timeout=20)
        transport.run(transport.server.stop(0))
        assert call.exception(timeout=20).code() is grpc.StatusCode.UNAVAILABLE
        assert transport.service.cancelled == ["given up"]

    def test_a_call_that_crosses_the_farewell_is_answered(self, transport: Serving) -> None:
        """By hand: h2 takes no frames after a GOAWAY."""

        def call(stream: int, method: str, body: bytes) -> bytes:
            head = frame(HEADERS, END_HEADERS, stream, Encoder().encode(request(method)))
            return head + frame(DATA, END_STREAM, stream, message(body))

        with socket.create_connection(("127.0.0.1", transport.port), timeout=20) as connection:
            connection.sendall(PREFACE + settings({}) + call(1, "Wait", b"waited"))
            assert transport.service.waiting.acquire(timeout=20)
            done = threading.Thread(target=transport.run, args=(transport.server.stop(20),))
            done.start()
            data = b""
            while not (pings := [f for f in frames_of(data)[0] if f[0] == PING]):
                data += connection.recv(65_536)
            # As if it had been sent before the farewell came, whose ping is answered after it.
            crossed = call(3, "Echo", b"crossed") + frame(PING, ACK, 0, pings[0][3])
            connection.sendall(crossed + call(5, "Echo", b"too late"))
            transport.loop.call_soon_threadsafe(transport.service.go.set)
            while more := connection.recv(65_536):
                data += more
            done.join(20)
        frames, _ = frames_of(data)
        bodies = {stream: payload[5:] for kind, _, stream, payload in frames if kind == DATA}
        assert bodies == {1: b"waited", 3: b"crossed"}
        lasts = [int.from_bytes(f[3][:4], "big") for f in frames if f[0] == GOAWAY]
        assert lasts == [2**31 - 1, 3]
        refused = [f[2] for f in frames if f[:2] == (RST_STREAM, 0)]
        assert refused == [5]
