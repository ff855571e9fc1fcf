"""What one caller may ask of the transport: every bound that it has, with its default."""

from __future__ import annotations

from dataclasses import dataclass

from cascade_server.config import ServerConfig

KIB, MIB = 2**10, 2**20


@dataclass(frozen=True)
class Rate:
    """How much of a thing a connection may do: a bucket of tokens.

    Attributes:
        burst: at once.
        per_second: in the long run.
        per_use: beside that, for every sign of use: a call that is answered, or a part of an
            answer of a kilobyte or more that the peer has taken. Who is served much may say much.
    """

    burst: float
    per_second: float
    per_use: float = 0.0


@dataclass(frozen=True)
class TransportLimits:
    """Bounds of a server, of a connection of it, and of a call.

    The defaults are those of servers that have stood in the open for years, where those have one:
    nghttp2's for resets and acknowledgements, Envoy's for windows and priorities, gRPC's for
    headers. Beyond a rate the connection ends with ENHANCE_YOUR_CALM.

    Attributes:
        streams: calls that a connection may have at once.
        message_bytes: of a message, as it is sent and once it is inflated.
        ahead_bytes: of a call's messages that the peer may send before they are read.
        header_list_bytes: of a call's headers, as HTTP/2 counts them.
        continuations: CONTINUATION frames of a header block.
        status_bytes: of an answer's trailers; longer texts are cut.
        open_message_bytes: of a message of a method that anybody may call, where others are asked
            who they are: it names a service at most.
        connections: at once; beyond it a stranger's ends, or else the one that has been idle
            longest, or the new one.
        handshakes: of TLS at once; beyond it one that has been at it for longest ends.
        handshakes_a_turn: that are gone on with in a turn of the event loop.
        handshake_seconds: that one may take.
        preface_seconds: in which a connection is to begin to speak HTTP/2.
        headers_seconds: in which a header block is to be complete.
        message_seconds: in which a message, a unary call or any other frame is to be complete.
        stall_seconds: in which the peer is to take 16 KiB of an answer, or all that is left of it.
        idle_seconds: without a call, after which a connection is asked to end.
        turn_seconds: that a connection's frames may take before others have their turn.
        reading_seconds: that the frames of all connections may take as they are read, in a turn of
            the event loop.
        backlog_seconds: that all frames which have waited may take, before new ones are read.
        inflation: times as large as it is sent that a compressed message may be, above a mebibyte;
            what compresses better than that is made to do harm.
        inflated_a_turn: bytes of inflated messages, after which calls wait for the next turn.
        held_bytes: of large messages, inflated messages and unsent answers, of a connection.
        held_bytes_in_all: of all connections.
        resets: that the peer sends for calls which had more than half of their time left.
        late_resets: that the peer sends for calls which are over: it gave up in the moment in which
            the answer was sent, as callers beyond a server's capacity do at every other call.
        faults: calls that the server has to reset since the peer has made a mistake.
        refused_streams: calls beyond `streams`.
        settings, pings, priorities, window_updates: such frames.
        empty_frames: DATA without data that is not the last.
        unknown_frames: of kinds that are not known, and others that say nothing.
    """

    streams: int = ServerConfig.max_concurrent_streams
    message_bytes: int = ServerConfig.max_message_bytes
    ahead_bytes: int = 256 * KIB
    header_list_bytes: int = 16 * KIB
    continuations: int = 8
    status_bytes: int = 4 * KIB
    open_message_bytes: int = KIB
    connections: int = ServerConfig.max_connections
    handshakes: int = 256
    handshakes_a_turn: int = 2
    handshake_seconds: float = 10.0
    preface_seconds: float = 20.0
    headers_seconds: float = 10.0
    message_seconds: float = ServerConfig.message_seconds
    stall_seconds: float = ServerConfig.stall_seconds
    idle_seconds: float = ServerConfig.connection_idle_seconds
    turn_seconds: float = 0.005
    reading_seconds: float = 0.02
    backlog_seconds: float = 0.01
    inflation: int = 100
    inflated_a_turn: int = MIB
    held_bytes: int = 32 * MIB
    held_bytes_in_all: int = ServerConfig.held_bytes
    resets: Rate = Rate(1000, 100, per_use=1)
    late_resets: Rate = Rate(1000, 100, per_use=1)
    faults: Rate = Rate(200, 20)
    refused_streams: Rate = Rate(1000, 100)
    settings: Rate = Rate(100, 10)
    pings: Rate = Rate(500, 20, per_use=1)
    priorities: Rate = Rate(200, 20, per_use=1)
    window_updates: Rate = Rate(1000, 100, per_use=10)
    empty_frames: Rate = Rate(100, 10)
    unknown_frames: Rate = Rate(200, 20)

    @classmethod
    def of(cls, config: ServerConfig) -> TransportLimits:
        """Those of a server whose settings say some of them."""
        return cls(
            streams=config.max_concurrent_streams,
            message_bytes=config.max_message_bytes,
            connections=config.max_connections,
            message_seconds=config.message_seconds,
            stall_seconds=config.stall_seconds,
            idle_seconds=config.connection_idle_seconds,
            held_bytes_in_all=config.held_bytes,
        )
