"""A checked `Generate` request: selects the rows of each message, and packs messages.

The rows of a message depend only on the seed and the message's number, so that any process can
resume a broken stream at any message. There is no asyncio in here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cascade_proto import synthesis_pb2 as pb
from cascade_tables import ABSENT, ColumnData, Encoded
from numpy.typing import NDArray

from cascade_server.cascade.packing import fill_provenance, microseconds, name_outside_values
from cascade_server.deadline import Work
from cascade_server.engines.noise import new_seed
from cascade_server.engines.runtime import Mask, Runtime, Tokens
from cascade_server.engines.spent import Spent
from cascade_server.errors import BadRequest
from cascade_server.wire import rows as wire


@dataclass(frozen=True, eq=False)
class Chunk:
    """The rows of one message, drawn and not packed yet.

    Attributes:
        index: the message's number in the whole stream, from 0.
        tokens: int32 [rows, T].
        rng: the message's random generator; decoding takes its next numbers.
        steps: network passes that drew the rows.
        seconds: duration of the drawing, including the queue.
    """

    index: int
    tokens: NDArray[np.int32]
    rng: np.random.Generator
    steps: int
    seconds: float


@dataclass(frozen=True, eq=False)
class GenerateJob:
    """A checked `GenerateRequest`.

    Attributes:
        runtime: the release that answers.
        work: the request's deadline.
        names: the columns to send, in this order.
        given: the known values, one per known column; all rows share them.
        encoded: the same values as tokens, [1, T].
        count: rows of the whole request.
        done: rows that the caller already has, from a broken stream; whole messages.
        seed: the caller's seed, or a new one.
        chunk_rows: rows of a message; the last may have fewer.
        spent: compute for messages that have not been counted yet.
    """

    runtime: Runtime
    work: Work
    names: tuple[str, ...]
    given: dict[str, list[Any]]
    encoded: Encoded
    count: int
    done: int
    seed: int
    chunk_rows: int
    spent: Spent = field(default_factory=Spent)

    @classmethod
    def check(
        cls, request: pb.GenerateRequest, runtime: Runtime, work: Work, most: int, chunk_rows: int
    ) -> GenerateJob:
        """Check a request.

        Args:
            request: the received request.
            runtime: the release that answers.
            work: the request's deadline.
            most: most rows of one request.
            chunk_rows: rows of a message.

        Raises:
            BadRequest, UnknownColumn, ValueNotAllowed: names what is wrong and what is allowed.
            DeadlinePassed: its deadline has passed.
        """
        work.check()
        if not 1 <= request.count <= most:
            raise BadRequest(f"count is {request.count:,}; allowed: 1 to {most:,}")
        if request.done >= request.count or request.done % chunk_rows:
            raise BadRequest(
                f"done is {request.done:,}; allowed: a multiple of {chunk_rows:,}, the rows of a "
                f"full message, below count, which is {request.count:,}"
            )
        if request.done and not request.HasField("seed"):
            raise BadRequest(
                f"done is {request.done:,} without a seed; a stream is gone on with by the seed "
                "and the version that its provenance named"
            )
        codec = runtime.release.codec
        if request.HasField("given") and request.given.count != 1:
            raise BadRequest(f"given.count is {request.given.count}; allowed: 1, the shared row")
        given = {}
        if request.HasField("given"):
            given = wire.read_rows(request.given, runtime.fields)
        given = {name: values for name, values in given.items() if values[0] is not ABSENT}
        return cls(
            runtime=runtime,
            work=work,
            names=wire.check_names(codec.schema, request.columns),
            given=given,
            # Strict, because the value would be in every row: a never-learnt one is refused.
            encoded=codec.encode_partial(given, 1, strict=True),
            count=request.count,
            done=request.done,
            seed=request.seed if request.HasField("seed") else new_seed(),
            chunk_rows=chunk_rows,
        )

    @property
    def chunks(self) -> range:
        """The numbers of the messages that remain to be sent."""
        return range(self.done // self.chunk_rows, -(-self.count // self.chunk_rows))

    def known(self, index: int) -> tuple[Tokens, Mask]:
        """Return the tokens of message `index`, and which are known: int32 and bool [rows, T]."""
        rows = min(self.chunk_rows, self.count - index * self.chunk_rows)
        return self.encoded.tokens.repeat(rows, axis=0), self.encoded.observed.repeat(rows, axis=0)

    def pack(self, chunk: Chunk) -> pb.GenerateResponse:
        """Decode rows and write them as a message.

        Meant for a separate thread. It releases the interpreter after each column, so that a
        real-time call waits for one column at most, not for a thousand rows of all columns.
        """
        began = time.perf_counter()
        rows = len(chunk.tokens)
        done = chunk.index * self.chunk_rows + rows
        response = pb.GenerateResponse(done=done, total=self.count)
        response.rows.count = rows
        columns: dict[str, ColumnData] = {}
        for name in self.names:
            kind = self.runtime.release.codec.kinds[name]
            values: wire.Values
            if name in self.given:
                values = wire.given_values(self.given[name], kind, rows)
            else:
                if name not in columns:
                    columns |= self._decoded(chunk, name)
                values = columns.pop(name)
            wire.write_values(response.rows.columns.add(name=name), kind, values)
            time.sleep(0)
        fill_provenance(response.provenance, self.runtime, True, chunk.steps, self.seed)
        if self.encoded.outside is not None:
            name_outside_values(self.encoded.outside, response.provenance)
        response.provenance.timings.compute = microseconds(0, chunk.seconds)
        response.provenance.timings.decode = microseconds(began, time.perf_counter())
        return response

    def _decoded(self, chunk: Chunk, name: str) -> dict[str, ColumnData]:
        """Decode a drawn column, with the columns that it depends on or that depend on it."""
        codec = self.runtime.release.codec
        together = next(group for group in codec.groups if name in group)
        names = [each for each in self.names if each in together and each not in self.given]
        return codec.decode_columns(chunk.tokens, chunk.rng, names, self.given)
