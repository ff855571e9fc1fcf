"""The HTTP/2 frames (RFC 9113) that a load generator writes by itself.

A gRPC library would use more processor time than the server under load, and both share a machine.
So requests are written frame by frame, without Huffman codes and without a header table (RFC 7541,
section 6.2.2), and the server is told to answer without a table too.
"""

from __future__ import annotations

import struct

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
HEADER_TABLE_SIZE, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 1, 3, 4
# Error codes of RST_STREAM.
REFUSED_STREAM, CANCEL = 7, 8
LARGEST_WINDOW = 2**31 - 1


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame: its header of nine bytes, then its payload."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def preface() -> bytes:
    """Return a client's first bytes: no header table, and windows that never fill."""
    settings = struct.pack(">HIHI", HEADER_TABLE_SIZE, 0, INITIAL_WINDOW_SIZE, LARGEST_WINDOW)
    window = struct.pack(">I", LARGEST_WINDOW - 65_535)
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + frame(SETTINGS, 0, 0, settings)
        + frame(WINDOW_UPDATE, 0, 0, window)
    )


def literals(headers: dict[str, str]) -> bytes:
    """Return a header block; each name and value must have fewer than 127 bytes."""
    out = b""
    for name, value in headers.items():
        assert max(len(name), len(value)) < 127
        out += b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
    return out


def grpc_timeout(seconds: float) -> str:
    """Format a positive timeout for `grpc-timeout`: at most eight digits, in the finest unit that
    allows it.
    """
    for unit, of_a_second in (("u", 1e6), ("m", 1e3), ("S", 1.0)):
        count = max(1, round(seconds * of_a_second))
        if count < 10**8:
            return f"{count}{unit}"
    return "99999999S"


def grpc_headers(target: str, method: str) -> bytes:
    """The header block of a gRPC call to `method` ("/package.Service/Method"), no deadline."""
    return literals(
        {
            ":method": "POST",
            ":scheme": "http",
            ":path": method,
            ":authority": target,
            "te": "trailers",
            "content-type": "application/grpc",
        }
    )


def grpc_message(message: bytes) -> bytes:
    """A message as gRPC sends it: not compressed, its length first."""
    return struct.pack(">BI", 0, len(message)) + message
