"""One chunk of `Generate`, from message to message; no asyncio here."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from cascade_proto import synthesis_pb2 as pb
from cascade_tables import ABSENT, Encoded
from numpy.typing import NDArray

from cascade_server.cascade.packing import fill_provenance, microseconds
from cascade_server.deadline import Work
from cascade_server.engines.noise import new_seed
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import BadRequest
from cascade_server.wire import rows as wire


@dataclass
class Generation:
    """A checked `GenerateRequest`, drawn and packed a message at a time."""

    runtime: Runtime
    work: Work
    names: tuple[str, ...]
    given: dict[str, list[Any]]
    encoded: Encoded
    count: int
    seed: int
    chunk_rows: int

    @classmethod
    def of(
        cls, request: pb.GenerateRequest, runtime: Runtime, work: Work, most: int, chunk_rows: int
    ) -> Generation:
        """Check a request.

        Raises:
            BadRequest, UnknownColumn, ValueNotAllowed: names what is wrong and what is allowed.
        """
        work.check()
        if not 1 <= request.count <= most:
            raise BadRequest(f"count is {request.count:,}; allowed: 1 to {most:,}")
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
            encoded=codec.encode_partial(given, 1),
            count=request.count,
            seed=request.seed if request.HasField("seed") else new_seed(),
            chunk_rows=chunk_rows,
        )

    def chunks(self) -> range:
        """Indices of its messages."""
        return range(-(-self.count // self.chunk_rows))

    def part(self, index: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Tokens and what is known of them for message `index`: [rows, T]."""
        at = index * self.chunk_rows
        n = min(self.chunk_rows, self.count - at)
        return self.encoded.tokens.repeat(n, axis=0), self.encoded.observed.repeat(n, axis=0)

    def pack(
        self,
        index: int,
        tokens: NDArray[np.int32],
        rng: np.random.Generator,
        steps: int,
        seconds: float,
    ) -> pb.GenerateResponse:
        """Message `index` of the stream, of tokens drawn with `rng` in `seconds`."""
        began = time.perf_counter()
        n = len(tokens)
        response = pb.GenerateResponse(done=index * self.chunk_rows + n, total=self.count)
        codec = self.runtime.release.codec
        wanted = [name for name in self.names if name not in self.given]
        drawn = codec.decode_columns(tokens, rng, wanted)
        response.rows.count = n
        for name in self.names:
            kind = codec.kinds[name]
            values: wire.Values | None = drawn.get(name)
            if values is None:
                values = wire.given_values(self.given[name], kind, n)
            wire.write_values(response.rows.columns.add(name=name), kind, values)
        fill_provenance(response.provenance, self.runtime, True, steps, self.seed)
        response.provenance.notices.extend(self.encoded.notices)
        response.provenance.timings.compute = microseconds(0, seconds)
        response.provenance.timings.decode = microseconds(began, time.perf_counter())
        return response
