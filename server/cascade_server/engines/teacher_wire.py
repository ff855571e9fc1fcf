"""The protocol between a worker and the teacher's process over a Unix socket.

A frame is its length, a kind and the number of the call, then a header specific to the kind and the
bytes of arrays. One supervisor starts both ends, in the same version and on the same machine: there
is nothing to negotiate, deadlines are on the machine's monotonic clock, and arrays are in its byte
order.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import astuple, dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from cascade_server.engines.engine import EngineStatistics
from cascade_server.engines.latency_model import Line, Outlook
from cascade_server.engines.philox import Uniform
from cascade_server.engines.runtime import Noise, Tokens
from cascade_server.engines.spent import Spent
from cascade_server.engines.teacher import TeacherInput
from cascade_server.telemetry.trace_context import TraceContext

FRAME = struct.Struct("<IBQ")
DRAW = struct.Struct("<HIIIId????")
INSIDE = struct.Struct("<16s8s")
SEEDED = struct.Struct("<QQQ")
SCORE = struct.Struct("<HIId")
OUTLOOK = struct.Struct("<Hddddd9Q2Q")
DRAWN = struct.Struct("<dddII")
SCORED = struct.Struct("<dd")


class Said(IntEnum):
    """Kinds of frames: up to CANCEL from a worker, after it from the teacher."""

    DRAW = 1
    SCORE = 2
    CANCEL = 3
    DRAWN = 4
    SCORED = 5
    LATE = 6
    FAILED = 7
    OUTLOOK = 8


@dataclass(frozen=True)
class Frame:
    """One message between a worker and the teacher's process, in either direction."""

    said: Said
    number: int
    content: bytes

    def packed(self) -> bytes:
        return FRAME.pack(len(self.content), self.said, self.number) + self.content


async def read_frame(reader: asyncio.StreamReader) -> Frame:
    """Read the next frame.

    Raises:
        asyncio.IncompleteReadError: the other end has closed the connection.
    """
    length, said, number = FRAME.unpack(await reader.readexactly(FRAME.size))
    return Frame(Said(said), number, await reader.readexactly(length))


def pack_draw(identity: str, given: TeacherInput, deadline: float, offline: bool) -> bytes:
    """Pack rows of a release to complete."""
    name = identity.encode()
    noise = given.noise
    if isinstance(noise, Uniform):
        width, seeded = noise.width, True
        packed = SEEDED.pack(noise.seed, noise.chunk, noise.start)
    else:
        width, seeded = noise.shape[1], False
        packed = np.ascontiguousarray(noise, np.float32).tobytes()
    n, slots = given.tokens.shape
    flags = offline, seeded, given.alone, given.inside is not None
    header = DRAW.pack(len(name), n, slots, width, given.steps, deadline, *flags)
    return b"".join(
        (
            header,
            name,
            np.ascontiguousarray(given.tokens, np.int32).tobytes(),
            np.ascontiguousarray(given.observed, np.bool_).tobytes(),
            packed,
            _packed_inside(given.inside),
        )
    )


def unpack_draw(content: bytes) -> tuple[str, TeacherInput, float, bool]:
    """Return the arguments of `pack_draw`."""
    length, n, slots, width, steps, deadline, *flags = DRAW.unpack_from(content)
    offline, seeded, alone, is_traced = flags
    name, offset = _name(content, DRAW.size, length)
    tokens = np.frombuffer(content, np.int32, n * slots, offset).reshape(n, slots)
    offset += 4 * n * slots
    observed = np.frombuffer(content, np.bool_, n * slots, offset).reshape(n, slots)
    offset += n * slots
    noise: Noise | Uniform
    if seeded:
        seed, chunk, start = SEEDED.unpack_from(content, offset)
        noise = Uniform(seed, chunk, start, n, width)
    else:
        noise = np.frombuffer(content, np.float32, n * width, offset).reshape(n, width)
    inside = None
    if is_traced:
        trace_id, span_id = INSIDE.unpack(content[-INSIDE.size :])
        inside = TraceContext(trace_id.hex(), span_id.hex(), True)
    return name, TeacherInput(tokens, observed, noise, steps, alone, inside), deadline, offline


def _packed_inside(inside: TraceContext | None) -> bytes:
    if inside is None:
        return b""
    return INSIDE.pack(bytes.fromhex(inside.trace_id), bytes.fromhex(inside.span_id))


def pack_score(
    identity: str, tokens: Tokens, observed: NDArray[np.bool_], deadline: float
) -> bytes:
    """Pack rows of a release to score."""
    name = identity.encode()
    header = SCORE.pack(len(name), *tokens.shape, deadline)
    arrays = np.ascontiguousarray(tokens, np.int32), np.ascontiguousarray(observed, np.bool_)
    return header + name + b"".join(array.tobytes() for array in arrays)


def unpack_score(content: bytes) -> tuple[str, Tokens, NDArray[np.bool_], float]:
    """Return the arguments of `pack_score`."""
    length, n, slots, deadline = SCORE.unpack_from(content)
    name, offset = _name(content, SCORE.size, length)
    tokens = np.frombuffer(content, np.int32, n * slots, offset).reshape(n, slots)
    observed = np.frombuffer(content, np.bool_, n * slots, offset + 4 * n * slots)
    return name, tokens, observed.reshape(n, slots), deadline


def pack_drawn(tokens: Tokens, queued: float, spent: Spent) -> bytes:
    """Pack completed rows, the seconds that they waited, and the time spent on them."""
    header = DRAWN.pack(queued, spent.seconds, spent.gpu_seconds, *tokens.shape)
    return header + np.ascontiguousarray(tokens, np.int32).tobytes()


def unpack_drawn(content: bytes) -> tuple[Tokens, float, Spent]:
    """Return the arguments of `pack_drawn`; the rows are writable."""
    queued, seconds, gpu_seconds, n, slots = DRAWN.unpack_from(content)
    tokens = np.frombuffer(content, np.int32, n * slots, DRAWN.size).reshape(n, slots)
    return tokens.copy(), queued, Spent(seconds, gpu_seconds)


def pack_scored(scores: NDArray[np.float64], spent: Spent) -> bytes:
    """Pack scores of rows, and the time spent on them."""
    return SCORED.pack(spent.seconds, spent.gpu_seconds) + scores.tobytes()


def unpack_scored(content: bytes) -> tuple[NDArray[np.float64], Spent]:
    """Return the arguments of `pack_scored`."""
    spent = Spent(*SCORED.unpack_from(content))
    return np.frombuffer(content, np.float64, offset=SCORED.size), spent


def pack_outlook(identity: str, outlook: Outlook, statistics: EngineStatistics) -> bytes:
    """Pack the outlook and statistics of a release's engine."""
    name = identity.encode()
    numbers = (*outlook.line, outlook.busy_until, *astuple(statistics))
    return OUTLOOK.pack(len(name), *numbers, outlook.ahead, outlook.most) + name


def unpack_outlook(content: bytes) -> tuple[str, Outlook, EngineStatistics]:
    """Return the arguments of `pack_outlook`."""
    length, a, b, factor, stall, busy_until, *counts = OUTLOOK.unpack_from(content)
    *statistics, ahead, most = counts
    name, _ = _name(content, OUTLOOK.size, length)
    outlook = Outlook(Line(a, b, factor, stall), busy_until, ahead, most)
    return name, outlook, EngineStatistics(*statistics)


def _name(content: bytes, offset: int, length: int) -> tuple[str, int]:
    return content[offset : offset + length].decode(), offset + length
