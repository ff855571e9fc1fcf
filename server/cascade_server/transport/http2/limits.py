"""All limits of the transport on one caller, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass

from cascade_server.config import ServerConfig

KIB, MIB = 2**10, 2**20


@dataclass(frozen=True)
class Rate:
    """The rate at which a connection may do something, as a token bucket.

    Attributes:
        burst: tokens at most.
        per_second: tokens gained per second.
        per_use: tokens gained for every sign of use: an answered call, or a part of an answer of a
            kilobyte or more that the peer has taken. Busy connections may thus send more.
    """

    burst: float
    per_second: float
    per_use: float = 0.0


@dataclass(frozen=True)
class TransportLimits:
    """Limits of a server, of each connection, and of each call.

    Where possible, the defaults are those of servers that have faced the internet for years:
    nghttp2's for resets and acknowledgements, Envoy's for windows and priorities, gRPC's for
    headers. A connection that exceeds a rate ends with ENHANCE_YOUR_CALM.

    Attributes:
        streams: simultaneous calls of a connection.
        message_bytes: bytes of a message, both as sent and inflated.
        ahead_bytes: bytes of a call's messages that the peer may send before they are read.
        header_list_bytes: bytes of a call's headers, as HTTP/2 counts them.
        continuations: CONTINUATION frames of a header block.
        status_bytes: bytes of an answer's trailers; longer texts are cut.
        open_message_bytes: bytes of a message of a method that anybody may call, if other methods
            require identification: it names a service at most.
        connections: simultaneous connections. Beyond it the server closes a stranger's, or else
            the one that has been idle longest, or the new one.
        handshakes: simultaneous TLS handshakes; beyond it a silent one ends, or else the oldest.
        handshakes_a_turn: handshakes that advance in one turn of the event loop.
        handshake_seconds: time for a handshake.
        preface_seconds: time for a connection to start speaking HTTP/2.
        headers_seconds: time for a header block to be complete.
        message_seconds: time for a message, a unary call or any other frame to be complete.
        stall_seconds: time for the peer to take 16 KiB of an answer, or all that is left of it.
        idle_seconds: time without a call after which a connection is asked to end.
        turn_seconds: parsing time of one connection before others have their turn.
        reading_seconds: parsing time of newly read frames of all connections, in one turn of the
            event loop.
        backlog_seconds: parsing time of waiting frames, before new ones are read.
        inflation: highest ratio of inflated to sent bytes of a message above a mebibyte; a higher
            ratio indicates an attack.
        inflated_a_turn: bytes of inflated messages after which calls wait for the next turn.
        held_bytes: bytes of large messages, inflated messages and unsent answers of a connection.
        held_bytes_in_all: the same for all connections together.
        resets: resets by the peer of calls that had more than half of their time left.
        late_resets: resets by the peer of calls that are over: it gave up just as the answer was
            sent, as callers beyond a server's capacity do at every other call.
        faults: calls that the server resets because of an error of the peer.
        refused_streams: calls beyond `streams`.
        settings, pings, priorities, window_updates: such frames.
        empty_frames: DATA frames without data that are not the last.
        unknown_frames: frames of unknown kinds, and others without effect.
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
        """Create the limits of a server from its settings."""
        return cls(
            streams=config.max_concurrent_streams,
            message_bytes=config.max_message_bytes,
            connections=config.max_connections,
            message_seconds=config.message_seconds,
            stall_seconds=config.stall_seconds,
            idle_seconds=config.connection_idle_seconds,
            held_bytes_in_all=config.held_bytes,
        )
