"""What benchmarks ask a server for: one row of a table, a few of its features late."""

from __future__ import annotations

import grpc
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub

SYNTHESIZE = "/cascade.v1.Synthesis/Synthesize"
# Features that are late: the table's first.
LATE = 3


def late_features(target: str, table: str) -> tuple[bytes, int]:
    """A request for the late features of a row, by the student at the least.

    A row that the pool has is given before one that is drawn, as to any caller.

    Returns:
        The serialised `SynthesizeRequest`, and the bytes of an answer to it.
    """
    with grpc.insecure_channel(target) as channel:
        stub = SynthesisStub(channel)
        drawn = stub.Synthesize(pb.SynthesizeRequest(table=table, rows=pb.Rows(count=1)))
        asked = pb.SynthesizeRequest(table=table, fidelity=pb.FIDELITY_FAST)
        asked.rows.count = 1
        asked.rows.columns.extend(drawn.rows.columns[LATE:])
        asked.columns.extend(column.name for column in drawn.rows.columns[:LATE])
        return asked.SerializeToString(), stub.Synthesize(asked).ByteSize()
